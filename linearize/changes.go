package linearize

import (
	"cmp"
	"slices"
	"time"
)

// orderByChanges orders the points by the changes that the pool reported. It returns a
// verdict if a change and its caller tell different stories, and false if it is not certain
// which change a call made.
func (w *witness) orderByChanges() (unlike *Verdict, ok bool) {
	granted := map[uint64]int32{} // points by token
	freed := map[uint64]int32{}   // points by the token of their lease
	numbered := map[uint64]int32{}
	w.noteLoose()
	for i := range w.points {
		p := &w.points[i]
		o := &w.h.Ops[p.op]
		switch {
		case p.do == doGrant && o.Token == 0, p.do == doFree && w.h.Ops[w.lease[p.op]].Token == 0:
			return nil, false
		case p.do == doGrant:
			granted[o.Token] = int32(i)
		case p.do == doFree:
			freed[w.h.Ops[w.lease[p.op]].Token] = int32(i)
		case p.do == doResize && p.seq == 0:
			return nil, false
		case p.do == doResize, (p.do == doCloseBegin || p.do == doEndSession) && p.seq != 0:
			numbered[p.seq] = int32(i)
		}
	}
	out := map[uint64]uint64{} // tokens of leases, by worker
	for i := range w.h.Changes {
		c := &w.h.Changes[i]
		s := step{none, int32(i), 0, c.At}
		at, known := none, false
		switch c.Kind {
		case LeaseGranted:
			out[c.Worker] = c.Token
			if at, known = granted[c.Token]; known {
				delete(granted, c.Token)
			}
		case LeaseEnded:
			if at, known = freed[out[c.Worker]]; known {
				delete(freed, out[c.Worker])
			}
			delete(out, c.Worker)
		case LeaseRevoked:
			delete(freed, out[c.Worker])
			delete(out, c.Worker)
		case Resized, ClosingBegun:
			if at, known = w.numberedBy(c, numbered); known {
				delete(numbered, c.Seq)
			}
		case SessionEnded: // more than one call may have asked for it
			if _, named := w.numberedBy(c, numbered); named {
				delete(numbered, c.Seq)
			}
		}
		if !known {
			w.loose.bound(&s, c)
		} else {
			p := &w.points[at]
			s.p, s.lo, s.hi = at, p.lo, min(p.hi, c.At)
			if v := w.compare(p, c); v != nil {
				return v, true
			}
		}
		w.steps = append(w.steps, s)
	}
	return w.unreported(granted, freed, numbered), true
}

// numberedBy returns the point that says that it made the change.
func (w *witness) numberedBy(c *Change, numbered map[uint64]int32) (int32, bool) {
	i, known := numbered[c.Seq]
	if !known {
		return none, false
	}
	p := &w.points[i]
	switch c.Kind {
	case Resized:
		return i, p.do == doResize
	case ClosingBegun:
		return i, p.do == doCloseBegin
	}
	return i, p.do == doEndSession && p.s == w.sessionOf(c.Session)
}

// compare holds what the pool reported beside what the caller saw.
func (w *witness) compare(p *point, c *Change) *Verdict {
	o := &w.h.Ops[p.op]
	same := p.seq == c.Seq || p.seq == 0
	switch c.Kind {
	case LeaseGranted:
		same = same && c.Worker == o.Worker && (p.s == none || c.Session == o.Session) && (!w.cfg.Fresh || c.Fresh == o.Fresh)
	case LeaseEnded:
		same = same && c.Worker == o.Worker
	}
	if same {
		return nil
	}
	v := w.illegal("witness", w.st, p, broken(whyUnlike, none))
	v.Changes = []uint64{c.Seq}
	return &v
}

// unreported finds a call with an effect that the pool did not report.
func (w *witness) unreported(granted, freed, numbered map[uint64]int32) *Verdict {
	first := none
	for _, of := range []map[uint64]int32{granted, numbered} {
		for _, i := range of {
			if first == none || i < first {
				first = i
			}
		}
	}
	for _, i := range freed {
		if w.h.Ops[w.points[i].op].Outcome != NoAnswer && (first == none || i < first) {
			first = i
		}
	}
	if first == none {
		return nil
	}
	v := w.illegal("witness", w.st, &w.points[first], broken(whyUnlike, none))
	return &v
}

// report takes in a change, beyond what the call that made it does.
func (w *witness) report(g int32) *Verdict {
	s := &w.steps[g]
	c := &w.h.Changes[s.change]
	worker, session := w.workerOf(c.Worker), w.sessionOf(c.Session)
	switch c.Kind {
	case WorkerStopping:
		w.st.workers[worker].dead = true
	case SessionGone:
		if session == none {
			return nil
		}
		if w.cfg.Affinity == Strict {
			w.st.sessions[session].lost = true
		} else {
			w.st.sessions[session].worker = 0
		}
	case SessionEnded:
		return w.sessionEnded(g, session)
	case ClosingBegun:
		if s.p == none && !w.closeBegan(c.At) {
			return w.unasked(c, none)
		}
		w.st.closing = true
	case Resized:
		if s.p == none {
			return w.unasked(c, none)
		}
	case AcquireParked, AcquireRefused:
		w.queue(session).note(w.hints[g], c)
	case LeaseGranted:
		if v := w.queued(g, session); v != nil || s.p != none {
			return v
		}
		if !w.loose.mayHave(c.Session, w.sooner[g], w.hints[g]) {
			return w.unasked(c, none)
		}
		return w.orphaned(s, worker, session)
	case LeaseEnded, LeaseRevoked:
		if s.p == none {
			return w.ended(s, worker)
		}
	}
	return nil
}

// sessionEnded takes in that a session ended: somebody must have asked for it, or its time
// be over.
func (w *witness) sessionEnded(g, n int32) *Verdict {
	if n == none {
		return nil
	}
	s := &w.st.sessions[n]
	at := w.hints[g]
	reason := w.cfg.SessionTTL > 0 && (s.worker == 0 || s.lost || at-s.used >= w.cfg.SessionTTL && !w.inUse(w.st, n))
	if !reason {
		reason = w.claim(n, w.sooner[g], at)
	}
	if !reason {
		v := w.illegal("witness", w.st, &point{op: none, w: none}, broken(whyUntold, none))
		v.Changes = []uint64{w.h.Changes[w.steps[g].change].Seq}
		return &v
	}
	*s = sessionState{epoch: s.epoch + 1}
	return nil
}

// claim finds the call that can have ended session n between the times given; a call ends a
// session once. Of several it is the one that returned first: the others may explain
// what comes later, too.
func (w *witness) claim(n int32, from, to time.Duration) bool {
	w.asked[n] = slices.DeleteFunc(w.asked[n], func(p *point) bool { return p.hi < from }) // there was nothing to end
	first := -1
	for i, p := range w.asked[n] {
		if p.lo <= to && (first < 0 || p.hi < w.asked[n][first].hi) {
			first = i
		}
	}
	if first < 0 {
		return false
	}
	w.asked[n] = slices.Delete(w.asked[n], first, first+1)
	return true
}

// orphaned takes in a grant that no caller got: either its call has no answer, or its
// context had ended, and it is given back.
func (w *witness) orphaned(s *step, worker, session int32) *Verdict {
	c := &w.h.Changes[s.change]
	to := &w.st.workers[worker]
	b := breach{}
	switch {
	case to.holder != 0:
		b = broken(whyHeld, max(to.holder-1, none))
	case to.dead:
		b = broken(whyDead, none)
	case w.st.closing && w.cfg.NoneAfter:
		b = broken(whyClosing, none)
	case w.st.capacity > 0 && w.st.held >= w.st.capacity:
		b = broken(whyFull, w.anyHolder(w.st))
	}
	if b.why != fine {
		v := w.illegal("witness", w.st, &point{op: none, w: worker}, b)
		v.Changes = append(v.Changes, c.Seq)
		return &v
	}
	lease := orphan{change: s.change, s: session, fresh: c.Fresh}
	if session != none {
		of := &w.st.sessions[session]
		if c.Fresh || of.worker == 0 {
			of.worker, of.lost = worker+1, false
		}
		of.leases++
		of.used, of.rested = 0, forever
		lease.epoch = of.epoch
	}
	to.holder = -1
	w.st.held++
	w.orphans[worker] = lease
	return nil
}

// ended takes in that a lease ended that no caller ended: one that no caller got, or one
// that was revoked.
func (w *witness) ended(at *step, worker int32) *Verdict {
	c := &w.h.Changes[at.change]
	from := &w.st.workers[worker]
	lease, known := w.orphans[worker]
	switch {
	case c.Kind == LeaseRevoked:
		w.st.forced = true
	case from.holder == 0 || !known:
		return w.unasked(c, max(from.holder-1, none))
	}
	if from.holder == 0 {
		return nil
	}
	from.holder = 0
	w.st.held--
	if !known {
		return nil
	}
	delete(w.orphans, worker)
	if lease.s == none {
		return nil
	}
	s := &w.st.sessions[lease.s]
	if s.epoch != lease.epoch {
		return nil
	}
	s.leases = max(0, s.leases-1)
	s.rested = c.At
	if lease.fresh && s.worker-1 == worker {
		s.worker = 0
	}
	return nil
}

// unasked is the verdict on a change that no call asked for.
func (w *witness) unasked(c *Change, other int32) *Verdict {
	v := w.illegal("witness", w.st, &point{op: none, w: none}, broken(whyUnasked, other))
	v.Text = c.Kind.String() + ": " + v.Text
	v.Changes = []uint64{c.Seq}
	return &v
}

// closeBegan reports whether a close had been called by then.
func (w *witness) closeBegan(by time.Duration) bool {
	return slices.ContainsFunc(w.points, func(p point) bool { return p.do == doCloseBegin && p.lo <= by })
}

// leaks finds a lease that was never given back although nobody can have it.
func (w *witness) leaks() *Verdict {
	left := map[string]int{} // calls without an answer, which may have one
	for i := range w.h.Ops {
		if o := &w.h.Ops[i]; o.Acquires() && o.Outcome == NoAnswer {
			left[o.Session]++
		}
	}
	var last []orphan
	for _, lease := range w.orphans {
		last = append(last, lease)
	}
	slices.SortFunc(last, func(a, b orphan) int { return cmp.Compare(a.change, b.change) })
	for _, lease := range last {
		c := &w.h.Changes[lease.change]
		if left[c.Session]--; left[c.Session] < 0 {
			v := w.illegal("witness", w.st, &point{op: none, w: w.workerOf(c.Worker)}, broken(whyLeaked, none))
			v.Changes = []uint64{c.Seq}
			return &v
		}
	}
	return nil
}

// queue follows the waiters of one session, or of none, through what the pool reports. They
// are served in order of arrival, so which of them leave by being granted is known, but not
// which of them give up.
type queue struct {
	parks []time.Duration // each waiter had parked by then
	gone  int             // waiters granted or given up
	blind bool            // it is not known any more who waits
}

func (w *witness) queue(session int32) *queue {
	q := w.queues[session]
	if q == nil {
		q = &queue{}
		w.queues[session] = q
	}
	return q
}

// note takes in that a waiter parked, or was refused.
func (q *queue) note(by time.Duration, c *Change) {
	switch {
	case c.Kind == AcquireParked:
		q.parks = append(q.parks, by)
	case c.Outcome == Refused || c.Outcome == Saturated || c.Outcome == SessionLimit: // it never parked
	case c.Outcome == Cancelled || c.Outcome == TimedOut:
		q.gone++
	default: // whether it had parked is not said
		q.blind = true
	}
}

// queued takes in a grant, which must go to the first of those who wait, if any do.
func (w *witness) queued(g, session int32) *Verdict {
	q := w.queue(session)
	if q.gone >= len(q.parks) {
		q.parks, q.gone = q.parks[:0], 0
		return nil
	}
	by := q.parks[q.gone] // the first waiter is this one or an earlier one
	q.gone++
	s := &w.steps[g]
	if !w.cfg.FIFO || q.blind || s.p == none {
		return nil
	}
	p := &w.points[s.p]
	if w.h.Ops[p.op].Call <= by {
		return nil
	}
	v := w.illegal("witness", w.st, p, broken(whyOvertakes, none))
	v.Changes = []uint64{w.h.Changes[s.change].Seq}
	return &v
}
