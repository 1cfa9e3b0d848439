// SPDX-License-Identifier: Apache-2.0
// Table sizes, in one place: a port to other hardware starts here.
#ifndef SIZES_P4
#define SIZES_P4

#define MAX_VIFS 4096
// The hypervisor's own entry, and the controller's, beside one per VIF.
#define PER_VIF_SIZE 4104

#endif
