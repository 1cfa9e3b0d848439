# SPDX-License-Identifier: Apache-2.0
"""Both configuration files, with every key at its default and explained (`--print-default-config`)."""

HOST = """\
# hvchannel-control host: every key at its default. Relative paths are relative to this file's folder.

socket = "control.sock"  # the local API, a unix socket
socket_mode = "0600"     # 0660: for the group of the controller's process, too
state = "control.db"     # attachments and leases, SQLite
# pipeline = "DIR"       # of host_vswitch.json and .p4info.txtpb; default: those that came with this package

[switch]
address = "unix:p4rt.sock"  # of the vSwitch's P4Runtime server: unix:PATH or HOST:PORT
allow_remote = false        # true: HOST may be another machine, and P4Runtime is spoken to it in clear
# ca = "ca.pem"             # TLS to HOST:PORT: who signed the server's certificate
# cert = "cert.pem"         # and what this controller shows, with its key
# key = "key.pem"
device_id = 1
election_id = 10            # where bidding for the primary's place begins
architecture = "v1model"    # of the P4 programs: v1model or pna
cpu_port = 510              # v1model's; pna has its own
audit_interval_s = 10.0     # seconds between two read backs when nothing changes, per thousand entries
pipeline_timeout_s = 60.0   # until the vSwitch has taken a pipeline, which it may have to compile
interfaces = {}             # at the ports, as the vSwitch was told: { 2 = "vnic1" }; for `hvchannel status`, diagnose

[channel]
prefix = "169.254.0.0/16"             # all addresses below lie in it
hypervisor_ip = "169.254.1.1"         # of the hypervisor's daemon
hypervisor_mac = "02:68:76:00:00:01"  # of the hypervisor's daemon, the same in every host
hypervisor_port = 1                   # of the vSwitch, where that daemon is coupled
cip = "169.254.1.2"                   # of the guest's daemon, the same in every guest
vni = 5001                            # the first identifier
vlan = 4094                           # the second identifier, when an attachment names none
reserved_vlans = []                   # VLAN ids that tenants use on the VNICs: no attachment may have them

[pool]  # of the LIPs
first = "169.254.1.10"
last = "169.254.254.254"
excluded = ["169.254.169.254"]

[policer]  # what one guest may send over the channel
rate_bytes_per_s = 12500000
burst_bytes = 1250000

# Further logical switches, one table each; above is the default one. They carry more VIFs than the vSwitch has ports: a
# port has one VIF per logical switch. The hypervisor has a port on each, and its kernel routes that pool to it.
# [[logical_switch]]
# vni = 5002
# hypervisor_port = 2
# vlan = 4093  # when an attachment names none; default: channel.vlan, which a port carries only once
# pool = { first = "169.254.128.1", last = "169.254.254.254" }  # [pool] must end before it
"""

GUEST = """\
# hvchannel-control guest: every key at its default. Relative paths are relative to this file's folder.

socket = "control.sock"  # the local API, a unix socket
socket_mode = "0600"     # 0660: for the group of the controller's process, too
# pipeline = "DIR"       # of guest_vswitch.json and .p4info.txtpb; default: those that came with this package

[switch]
address = "unix:p4rt.sock"  # of the vSwitch's P4Runtime server: unix:PATH or HOST:PORT
allow_remote = false        # true: HOST may be another machine, and P4Runtime is spoken to it in clear
# ca = "ca.pem"             # TLS to HOST:PORT: who signed the server's certificate
# cert = "cert.pem"         # and what this controller shows, with its key
# key = "key.pem"
device_id = 1
election_id = 10            # where bidding for the primary's place begins
architecture = "v1model"    # of the P4 programs: v1model or pna
cpu_port = 510              # v1model's; pna has its own
audit_interval_s = 10.0     # seconds between two read backs when nothing changes, per thousand entries
pipeline_timeout_s = 60.0   # until the vSwitch has taken a pipeline, which it may have to compile
interfaces = {}             # at the ports, as the vSwitch was told: { 2 = "eth0" }

[channel]  # as the host has it
prefix = "169.254.0.0/16"
hypervisor_ip = "169.254.1.1"
hypervisor_mac = "02:68:76:00:00:01"
cip = "169.254.1.2"  # this guest's address
vlan = 4094          # the second identifier

[vif]
vif_id = "vif"   # a name for `list`
vnic = "eth0"    # the interface whose MAC is the VIF's
# mac = "02:00:00:00:00:01"  # the VIF's MAC, instead of the interface's
vnic_port = 2    # of the vSwitch, where the VNIC is plugged in
daemon_port = 1  # of the vSwitch, where the guest's daemon is coupled
"""
