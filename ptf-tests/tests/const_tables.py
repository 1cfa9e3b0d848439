# SPDX-License-Identifier: Apache-2.0
"""What no controller can change: the default action of every table, and the tables whose entries are the program's."""

from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import HOST
from vswitch.entries import Entry
from vswitch.frames import hypervisor_frame

DEFAULTS = {
    "attachment": "unattached",
    "source_guard": "spoofed",
    "arp": "arp_unknown",
    "connection_guard": "refuse_protocol",
    "forward": "no_route",
    "member": "not_member",
    "verdict": "NoAction",
    "tag": "untaggable",
    "egress_verdict": "NoAction",
}
HOST_DEFAULTS = DEFAULTS | {"restore": "unrestored", "translate": "untranslated"}


class Defaults:
    """Everything that is not permitted is dropped: each table's default action says so, and refuses to be another."""

    def runTest(self):
        expected = (HOST_DEFAULTS if self.program is HOST else DEFAULTS) | self.arch.own_tables
        self.assertEqual(expected, {table: p4runtime.default_action(table) for table in p4runtime.tables()})
        for table, action, params in (
            ("attachment", "attach_hypervisor", {self.program.identifier: self.program.value}),
            ("source_guard", "permit_source", {}),
            ("forward", "to_port", {"port": 1}),
            ("member", "member_guest", {}),
            ("tag", "leave_untagged", {}),
            ("connection_guard", "permit_protocol", {}),
        ):
            with self.subTest(table=table), self.assertRaises(p4runtime.Refused):
                p4runtime.set_default(Entry(table, {}, action, params))
        self.assertEqual(expected, {table: p4runtime.default_action(table) for table in p4runtime.tables()})


class ConstEntries:
    """The entries of `verdict`, `egress_verdict` and `connection_guard` are read, and neither written nor deleted."""

    def runTest(self):
        before = {
            table: p4runtime.counts(table) for table in ("verdict", "egress_verdict", "connection_guard")
        }
        self.assertEqual([17, 2, 8], [len(entries) for entries in before.values()])
        entry = Entry("verdict", {"verdict": 1}, "drop_policed")
        with self.assertRaises(p4runtime.Refused):
            p4runtime.insert(entry._replace(match={"verdict": 99}))
        with self.assertRaises(p4runtime.Refused):
            p4runtime.delete(entry)
        self.assertEqual(before, {table: p4runtime.counts(table) for table in before})
        self.assert_dropped(
            self.program.hypervisor.port, hypervisor_frame(self.program, proto=47), "drop_protocol"
        )


@group("host")
class HostConstDefaults(Defaults, HostTest):
    pass


@group("guest")
class GuestConstDefaults(Defaults, GuestTest):
    pass


@group("host")
class HostConstEntries(ConstEntries, HostTest):
    pass


@group("guest")
class GuestConstEntries(ConstEntries, GuestTest):
    pass
