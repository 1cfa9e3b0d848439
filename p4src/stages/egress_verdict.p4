// SPDX-License-Identifier: Apache-2.0
// Counts what the egress stages had to drop after all: the controller's tables contradict each other.
#ifndef EGRESS_VERDICT_P4
#define EGRESS_VERDICT_P4

control EgressVerdict(inout metadata_t meta) {
    @name(".egress_verdict_counter") DIRECT_COUNTER(egress_verdict_counter);

    @name(".drop_untaggable")   action drop_untaggable() { COUNT(egress_verdict_counter); }
    @name(".drop_untranslated") action drop_untranslated() { COUNT(egress_verdict_counter); }

    @name(".egress_verdict")
    table egress_verdict {
        key = {
            meta.verdict : exact @name("verdict");
        }
        actions = { drop_untaggable; drop_untranslated; @defaultonly NoAction; }
        const default_action = NoAction();
        const entries = {
            verdict_t.UNTAGGABLE   : drop_untaggable();
            verdict_t.UNTRANSLATED : drop_untranslated();
        }
        COUNTED_BY(egress_verdict_counter)
    }

    apply {
        egress_verdict.apply();
    }
}

#endif
