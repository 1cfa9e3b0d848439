// SPDX-License-Identifier: Apache-2.0
// Which attachment a packet comes from: sets its identifier and role, polices it, and takes its tag off.
#ifndef ATTACHMENT_P4
#define ATTACHMENT_P4

control Attachment(inout headers_t hdr, inout metadata_t meta) {
    ENTRY_COUNTER(".attachment_counter", attachment_counter)
    // One policer per attachment. The controller gives rates to guests' attachments; without rates all is green.
    @name(".policer") POLICER(policer);

    @name(".attach_hypervisor")
    action attach_hypervisor(@name(IDENTIFIER) identifier_t identifier) {
        COUNT_ENTRY(attachment_counter)
        meta.identifier = identifier;
        meta.role = role_t.HYPERVISOR;
        POLICE(policer, meta);
    }

    @name(".attach_guest")
    action attach_guest(@name(IDENTIFIER) identifier_t identifier) {
        COUNT_ENTRY(attachment_counter)
        meta.identifier = identifier;
        meta.role = role_t.GUEST;
        POLICE(policer, meta);
    }

    // A PacketOut brings its identifier along and enters as if from the hypervisor's port.
    @name(".attach_controller")
    action attach_controller(port_t in_port) {
        COUNT_ENTRY(attachment_counter)
        meta.identifier = hdr.packet_out.IDENTIFIER_FIELD;
        meta.in_port = in_port;
        meta.role = role_t.HYPERVISOR;
        POLICE(policer, meta);
    }

    @name(".unattached")
    action unattached() {
        COUNT_ENTRY(attachment_counter)
        meta.verdict = verdict_t.UNATTACHED;
    }

    @name(".attachment")
    table attachment {
        key = {
            meta.in_port : exact @name("in_port");
            meta.tagged  : exact @name("tagged");
            meta.vlan_id : exact @name("vlan_id");
        }
        actions = { attach_hypervisor; attach_guest; attach_controller; @defaultonly unattached; }
        const default_action = unattached();
        size = PER_VIF_SIZE;
        ENTRIES_COUNTED_BY(attachment_counter)
        METERED_BY(policer)
    }

    apply {
        attachment.apply();
        if (meta.verdict == verdict_t.UNDECIDED && meta.color == COLOR_RED) {
            meta.verdict = verdict_t.POLICED;
        }
        if (hdr.vlan.isValid()) {
            hdr.ethernet.ether_type = hdr.vlan.ether_type;
            hdr.vlan.setInvalid();
        }
    }
}

#endif
