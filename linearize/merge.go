package linearize

import (
	"cmp"
	"slices"
)

// merge returns the ops of all clients in order of their calls.
func (r *Recorder) merge() []Op {
	total := 0
	for _, c := range r.clients {
		total += int(c.count)
	}
	ops := make([]Op, 0, total)
	leases := make([]Lease, 0, total) // of the entries, client after client, those that they end
	places := make([]int32, total)    // and where they come in ops
	first := make([]int, len(r.clients))
	for i, c := range r.clients {
		first[i] = len(leases)
		for _, chunk := range c.chunks {
			for k := range chunk {
				o, lease := chunk[k].op(c.listed)
				o.Client, o.ID = i+1, len(leases)
				ops, leases = append(ops, o), append(leases, lease)
			}
		}
	}
	slices.SortStableFunc(ops, func(a, b Op) int { return cmp.Compare(a.Call, b.Call) })
	for i := range ops {
		places[ops[i].ID] = int32(i)
	}
	for i := range ops {
		o := &ops[i]
		lease := leases[o.ID]
		o.ID = i + 1
		if client, n := lease>>32, lease&(1<<32-1); o.Frees() && client > 0 && int(client) <= len(first) && n > 0 {
			at := places[first[client-1]+int(n)-1]
			o.Lease, o.Worker, o.Token = int(at)+1, ops[at].Worker, ops[at].Token
		}
	}
	return ops
}

// op returns what an entry took down, without client and lease, and the lease.
func (e *entry) op(names []string) (Op, Lease) {
	o := Op{
		Kind: e.kind, Outcome: e.outcome, Fresh: e.fresh, Ended: e.ended,
		Call: e.call, Return: e.back, Parked: e.parked, Worker: e.worker, Token: e.token, Seq: e.seq,
	}
	if e.session > 0 {
		o.Session = names[e.session]
	}
	switch e.kind {
	case Release, Discard:
		return o, Lease(e.arg)
	case Retire:
		o.Worker = e.arg
	case Resize:
		o.Max = int(e.arg)
	}
	return o, 0
}

// assignSeqs gives ops the numbers of the changes that the pool reported, where it is
// certain which change an op made: a grant's by its token, a release's as the end of that
// lease, and a resize's or close's if no other was under way.
func (h *History) assignSeqs() {
	if len(h.Changes) == 0 {
		return
	}
	granted := make(map[uint64]*Op) // by token
	freed := make(map[uint64]*Op)   // by the token of the lease
	var wide []*Op                  // resizes and closes
	for i := range h.Ops {
		switch o := &h.Ops[i]; {
		case o.Seq != 0:
		case o.Outcome == Granted && o.Token != 0:
			granted[o.Token] = o
		case o.Frees() && o.Token != 0:
			freed[o.Token] = o
		case o.Kind == Resize || o.Closes():
			wide = append(wide, o)
		}
	}
	out := make(map[uint64]uint64) // tokens of the leases out, by worker
	for i := range h.Changes {
		switch c := &h.Changes[i]; c.Kind {
		case LeaseGranted:
			out[c.Worker] = c.Token
			if o := granted[c.Token]; o != nil && o.Seq == 0 {
				o.Seq = c.Seq
			}
		case LeaseEnded:
			if o := freed[out[c.Worker]]; o != nil && o.Seq == 0 {
				o.Seq = c.Seq
			}
			delete(out, c.Worker)
		case LeaseRevoked:
			delete(out, c.Worker) // its release changes nothing
		case Resized, ClosingBegun:
			c.assignTo(wide)
		}
	}
}

// assignTo gives the change's number to the one op among those that may have made it.
func (c *Change) assignTo(ops []*Op) {
	var only *Op
	for _, o := range ops {
		made := o.Closes() == (c.Kind == ClosingBegun) && o.Call <= c.At && (o.Outcome == NoAnswer || c.At <= o.Return)
		switch {
		case made && only != nil:
			return
		case made:
			only = o
		}
	}
	if only != nil && only.Seq == 0 {
		only.Seq = c.Seq
	}
}
