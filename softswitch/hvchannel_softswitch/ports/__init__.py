# SPDX-License-Identifier: Apache-2.0
"""Where frames come from and go to: the ports of a switch."""

from hvchannel_softswitch.ports.af_packet import AfPacketPort
from hvchannel_softswitch.ports.pcap import PcapWriter
from hvchannel_softswitch.ports.port import Port, PortDown, PortState, PortStatistics

__all__ = ["AfPacketPort", "PcapWriter", "Port", "PortDown", "PortState", "PortStatistics"]
