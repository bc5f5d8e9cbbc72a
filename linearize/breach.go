package linearize

import (
	"fmt"
	"slices"
)

// reasons are the rule and the sentence of each way to break one.
var reasons = [...]struct{ rule, text string }{
	whyHeld:       {"I1", "worker %d was granted while another lease of it was out"},
	whyDead:       {"I3", "worker %d was granted after its end"},
	whyFull:       {"I2", "granted while as many leases were out as the capacity allows"},
	whyEnded:      {"I6", "granted though the caller's context had ended before the call"},
	whyClosed:     {"I13", "granted after a close had returned"},
	whyClosing:    {"I13", "granted after closing had begun"},
	whyOvertakes:  {"I7", "granted before another that had waited longer and could have used the worker"},
	whyMoved:      {"I8", "a strict session was granted another worker than its own"},
	whyMovedAlive: {"I8", "a sticky session was granted another worker while its own lived"},
	whyMovedIdle:  {"I8", "a session was granted another worker while its own was idle"},
	whyBoundTwice: {"I8", "a session that was bound is said to be bound anew"},
	whyNotFresh:   {"I8", "a session that had no binding to the worker is said to have had it"},
	whyOutlived:   {"I9", "a session that had expired is said to be bound still"},
	whyNotLost:    {"I8", "told that the session is lost, but nothing had ended its worker"},
	whyNotStrict:  {"I8", "told that the session is lost, which only a strict one can be"},
	whyNotClosed:  {"I13", "told that the pool is closed, but nothing had closed it"},
	whyFree:       {"I5", "refused though a worker was free"},
	whyBoundFree:  {"I5", "refused though the session's worker was free"},
	whyCrowd:      {"I7", "refused as one too many, with fewer waiting than may wait"},
	whyNoLimit:    {"I7", "refused as one too many, though nothing limits the queue"},
	whyLeasesOut:  {"I13", "the close returned while a lease was out"},
	whyNotOut:     {"I14", "a lease was ended that was not out"},
	whyTime:       {"I15", "the order by seq contradicts the times of the calls"},
	whyUnlike:     {"I15", "what the pool reported differs from what its caller saw"},
	whyLeaked:     {"I6", "a lease was granted that no caller got, and never given back"},
	whyUnasked:    {"I15", "the pool reported what no call had asked for"},
	whyToken:      {"I1", "granted with a token that is not higher than that of a lease granted before"},
	whyTokenOrder: {"I15", "the numbers of two changes and the tokens that they gave are in different orders"},
	whyUntold:     {"I9", "a session was ended for no reason"},
}

// illegal returns the verdict that the point broke a rule; st is the state before it, nil
// if that is not known.
func (x *index) illegal(judge string, st *state, p *point, b breach) Verdict {
	text := reasons[b.why].text
	if b.why == whyHeld || b.why == whyDead {
		id := uint64(0)
		if p.w != none {
			id = x.workers[p.w]
		}
		text = fmt.Sprintf(text, id)
	}
	v := Verdict{Result: Illegal, Rule: reasons[b.why].rule, Judge: judge, why: b.why}
	if p.op != none {
		o := &x.h.Ops[p.op]
		v.Text = o.String() + ": " + text
		v.Ops = append(v.Ops, o.ID)
		if lease := x.lease[p.op]; lease != none {
			v.Ops = append(v.Ops, x.h.Ops[lease].ID)
		}
	} else {
		v.Text = text
	}
	if b.other >= 0 && b.why != whyFull {
		v.Ops = append(v.Ops, x.h.Ops[b.other].ID)
		v.Text += " (" + x.h.Ops[b.other].String() + ")"
	}
	if b.why == whyFull && st != nil {
		for i := range st.workers {
			if h := st.workers[i].holder; h > 0 {
				v.Ops = append(v.Ops, x.h.Ops[h-1].ID)
			}
		}
	}
	slices.Sort(v.Ops)
	v.Ops = slices.Compact(v.Ops)
	return v
}
