# SPDX-License-Identifier: Apache-2.0
"""A hypervisor and its VMs on one machine: namespaces and veths, processes supervised, all of it removed at
the end.

`topology` says what a lab is, `network` and `vm` build it, `processes` says what runs in it, `supervisor`
keeps that running, `running_lab` brings all of it up and down. `handle` is how everything else (commands,
tests, the journey) reaches a lab that is up; `capture`, `tables` and `traces` are its three sources of
evidence, `accounts` picks what the lab's target (`targets`, `bmv2`) leaves of them.
"""
