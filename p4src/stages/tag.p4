// SPDX-License-Identifier: Apache-2.0
// The mapping from identifier to the tag on the wire, per port: host first -> second identifier, guest second -> tag.
#ifndef TAG_P4
#define TAG_P4

control Tag(inout headers_t hdr, inout metadata_t meta) {
    ENTRY_COUNTER(".tag_counter", tag_counter)

    @name(".push_vlan")
    action push_vlan(vlan_id_t vlan_id) {
        COUNT_ENTRY(tag_counter)
        hdr.vlan.setValid();
        hdr.vlan.pcp = 0;
        hdr.vlan.dei = 0;
        hdr.vlan.vlan_id = vlan_id;
        hdr.vlan.ether_type = hdr.ethernet.ether_type;
        hdr.ethernet.ether_type = ETHER_TYPE_VLAN;
    }

    @name(".leave_untagged")
    action leave_untagged() { COUNT_ENTRY(tag_counter) }

    @name(".untaggable")
    action untaggable() {
        COUNT_ENTRY(tag_counter)
        meta.verdict = verdict_t.UNTAGGABLE;
    }

    @name(".tag")
    table tag {
        key = {
            meta.out_port   : exact @name("port");
            meta.identifier : exact @name(IDENTIFIER);
        }
        actions = { push_vlan; leave_untagged; @defaultonly untaggable; }
        const default_action = untaggable();
        size = PER_VIF_SIZE;
        ENTRIES_COUNTED_BY(tag_counter)
    }

    apply {
        tag.apply();
    }
}

#endif
