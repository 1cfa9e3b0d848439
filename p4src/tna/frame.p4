// SPDX-License-Identifier: Apache-2.0
// TNA's parsers and deparsers, the same for both vSwitches. TNA's metadata begins as zero.
#ifndef FRAME_P4
#define FRAME_P4

parser SwitchIngressParser(packet_in packet,
                           out headers_t hdr,
                           out metadata_t meta,
                           out ingress_intrinsic_metadata_t ig_md) {
    FrameParser() frame;

    state start {
        packet.extract(ig_md);
        packet.advance(PORT_METADATA_SIZE);
        meta.in_port = ig_md.ingress_port;
        transition select(ig_md.ingress_port) {
            CPU_PORT: from_controller;
            default:  from_wire;
        }
    }

    state from_controller {
        meta.from_controller = true;
        packet.extract(hdr.packet_out);
        frame.apply(packet, hdr, meta);
        transition accept;
    }

    state from_wire {
        meta.from_controller = false;
        frame.apply(packet, hdr, meta);
        transition accept;
    }
}

// The checksums of what AdjustChecksums has changed.
control UpdateChecksums(inout headers_t hdr, in metadata_t meta) {
    Checksum() ipv4_checksum;
    Checksum() tcp_checksum;
    Checksum() udp_checksum;

    apply {
        if (meta.adjusts_ipv4 == 1) {
            hdr.ipv4.checksum = ipv4_checksum.update({hdr.ipv4.src_addr, hdr.ipv4.dst_addr, meta.ipv4_residual});
        }
        if (meta.adjusts_tcp == 1) {
            hdr.tcp.checksum = tcp_checksum.update({hdr.ipv4.src_addr, hdr.ipv4.dst_addr, meta.tcp_residual});
        }
        if (meta.adjusts_udp == 1) {
            hdr.udp.checksum = udp_checksum.update(
                {hdr.ipv4.src_addr, hdr.ipv4.dst_addr, meta.udp_residual}, true); // a sum of zero is sent as all ones
        }
    }
}

control SwitchIngressDeparser(packet_out packet,
                              inout headers_t hdr,
                              in metadata_t meta,
                              in ingress_intrinsic_metadata_for_deparser_t ig_dprsr_md) {
    UpdateChecksums() update_checksums;
    @name(".spoof_digest") Digest<spoof_digest_t>() spoof_digest;

    apply {
        if (ig_dprsr_md.digest_type == SPOOF_DIGEST_TYPE) {
            spoof_digest.pack({meta.in_port, meta.identifier, meta.vlan_id, hdr.ethernet.src_addr, meta.src_ip});
        }
        update_checksums.apply(hdr, meta);
        packet.emit(hdr.bridge);
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.vlan);
        packet.emit(hdr.arp);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.tcp);
        packet.emit(hdr.udp);
    }
}

parser SwitchEgressParser(packet_in packet,
                          out headers_t hdr,
                          out metadata_t meta,
                          out egress_intrinsic_metadata_t eg_md) {
    BridgedParser() bridged;

    state start {
        packet.extract(eg_md);
        meta.out_port = eg_md.egress_port;
        bridged.apply(packet, hdr, meta);
        transition accept;
    }
}

control SwitchEgressDeparser(packet_out packet,
                             inout headers_t hdr,
                             in metadata_t meta,
                             in egress_intrinsic_metadata_for_deparser_t eg_dprsr_md) {
    UpdateChecksums() update_checksums;

    apply {
        update_checksums.apply(hdr, meta);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.vlan);
        packet.emit(hdr.arp);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.tcp);
        packet.emit(hdr.udp);
    }
}

#endif
