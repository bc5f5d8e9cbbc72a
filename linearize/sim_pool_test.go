package linearize

import "slices"

// acquire grants, refuses or parks.
func (s *sim) acquire(o *Op, granted func(*simLease), refused func(Outcome)) {
	turnAway := func(out Outcome) {
		s.change(Change{Kind: AcquireRefused, Session: o.Session, Outcome: out})
		refused(out)
	}
	x := s.session(o.Session)
	switch {
	case s.cfg.cancels && s.rng.IntN(20) == 0:
		o.Ended = true
		if !s.faulty(simToCancelled) {
			refused(Cancelled)
			return
		}
	case s.closing && !s.faulty(simAfterClose):
		turnAway(Closed)
		return
	case x != nil && x.lost:
		turnAway(SessionLost)
		return
	case x != nil && x.worker != nil && s.cfg.Affinity == Strict && s.faulty(simFalseLoss):
		turnAway(SessionLost)
		return
	}
	w := s.choose(x)
	if w != nil && o.Kind == Try && s.faulty(simRefusedFree) {
		w = nil
	}
	if w == nil && o.Kind == Acquire && s.faulty(simDoubleGrant) {
		w = s.workers[s.rng.IntN(len(s.workers))]
	}
	if w == nil && o.Kind == Acquire && o.Session == "" && s.out >= s.capacity && s.faulty(simOverCapacity) {
		w = s.hire()
	}
	waiter := &simWaiter{o, granted, refused}
	switch {
	case w != nil:
		s.grant(waiter, w)
	case o.Kind == Try:
		turnAway(Refused)
	case s.cfg.MaxWaiters > 0 && len(s.queue) >= s.cfg.MaxWaiters:
		turnAway(Saturated)
	default:
		s.park(waiter, x)
	}
}

func (s *sim) park(waiter *simWaiter, x *simSession) {
	o := waiter.op
	s.change(Change{Kind: AcquireParked, Session: o.Session})
	if x == nil && o.Session != "" && s.cfg.Affinity != None {
		x = &simSession{name: o.Session}
		s.sessions[o.Session] = x
	}
	if x != nil {
		x.uses++
	}
	if s.cfg.parked {
		o.Parked = s.now
	}
	s.queue = append(s.queue, waiter)
	if s.cfg.cancels && s.rng.IntN(4) == 0 {
		s.after(s.some(400), func() {
			if at := slices.Index(s.queue, waiter); at >= 0 {
				s.queue = slices.Delete(s.queue, at, at+1)
				s.unuse(s.sessions[o.Session])
				s.change(Change{Kind: AcquireRefused, Session: o.Session, Outcome: Cancelled})
				waiter.refused(Cancelled)
			}
		})
	}
}

// session returns the session of that name, after it has expired if its time is over; nil
// if there is none.
func (s *sim) session(name string) *simSession {
	x := s.sessions[name]
	if x == nil || s.cfg.Affinity == None {
		return nil
	}
	if s.cfg.SessionTTL > 0 && x.uses == 0 && s.now-x.idle >= s.cfg.SessionTTL {
		s.change(Change{Kind: SessionEnded, Session: name})
		s.forget(x)
		return nil
	}
	return x
}

// forget ends a session; those who wait are of a new one.
func (s *sim) forget(x *simSession) {
	delete(s.sessions, x.name)
	fresh := &simSession{name: x.name}
	for _, q := range s.queue {
		if q.op.Session == x.name {
			fresh.uses++
			s.sessions[x.name] = fresh
		}
	}
}

func (s *sim) unuse(x *simSession) {
	if x == nil {
		return
	}
	if x.uses--; x.uses == 0 {
		x.idle = s.now
		if x.worker == nil && !x.lost {
			delete(s.sessions, x.name)
		}
	}
}

// free reports whether a worker can be had.
func (s *sim) free(w *simWorker) bool { return w.lease == nil && s.out < s.capacity }

// choose returns an idle worker that the session may use, or nil.
func (s *sim) choose(x *simSession) *simWorker {
	if x != nil && x.worker != nil {
		switch {
		case s.cfg.fault == simLostBinding && s.cfg.Affinity != Prefer && x.worker.lease == nil && s.out+1 < s.capacity && !s.fired:
			for _, w := range s.workers {
				if w != x.worker && s.free(w) && s.faulty(simLostBinding) {
					return w
				}
			}
		case s.free(x.worker):
			return x.worker
		case s.cfg.Affinity != Prefer && s.cfg.fault == simBoundTwice && x.worker.lease != nil:
			for _, w := range s.workers {
				if w != x.worker && s.free(w) && s.faulty(simBoundTwice) {
					return w
				}
			}
			return nil
		case s.cfg.Affinity != Prefer:
			return nil
		}
		if s.free(x.worker) {
			return x.worker
		}
	}
	var idle []*simWorker
	for _, w := range s.workers {
		if s.free(w) {
			idle = append(idle, w)
		}
	}
	if len(idle) == 0 {
		return nil
	}
	return idle[s.rng.IntN(len(idle))]
}

// grant leases a worker.
func (s *sim) grant(waiter *simWaiter, w *simWorker) {
	o := waiter.op
	x := s.session(o.Session)
	if x == nil && o.Session != "" && s.cfg.Affinity != None {
		x = &simSession{name: o.Session}
		s.sessions[o.Session] = x
	}
	l := &simLease{op: o, worker: w, session: x}
	o.Outcome, o.Worker = Granted, w.id
	if x != nil {
		o.Fresh = x.worker != w
		x.worker, x.lost = w, false
		x.uses++
		l.epoch = x.epoch
	}
	s.token++
	if s.cfg.tokens || s.cfg.reports {
		o.Token = s.token
	}
	w.lease = l
	s.out++
	o.Seq = s.change(Change{Kind: LeaseGranted, Worker: w.id, Token: s.token, Session: o.Session, Fresh: o.Fresh})
	waiter.granted(l)
}

// release ends a lease, and serves those who wait.
func (s *sim) release(l *simLease, discard bool) uint64 {
	w := l.worker
	seq := s.change(Change{Kind: LeaseEnded, Worker: w.id, Session: l.op.Session})
	s.out--
	if w.lease == l {
		w.lease = nil
	}
	s.unuse(l.session)
	if discard {
		s.bury(w)
	}
	if s.closing && s.out == 0 {
		for _, back := range s.onClosed {
			back()
		}
		s.onClosed = nil
	}
	s.match()
	return seq
}

// repeat ends a lease that has ended, which frees its worker under its next holder.
func (s *sim) repeat(l *simLease) {
	if l.worker.lease != nil {
		l.worker.lease = nil
		s.out--
		s.match()
		return
	}
	l.worker.stale = l
}

// bury ends a worker and hires another.
func (s *sim) bury(w *simWorker) {
	if s.faulty(simDeadGranted) {
		return
	}
	s.change(Change{Kind: WorkerStopping, Worker: w.id})
	s.workers = slices.DeleteFunc(s.workers, func(o *simWorker) bool { return o == w })
	s.hire()
	var names []string
	for name, x := range s.sessions {
		if x.worker == w {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		x := s.sessions[name]
		s.change(Change{Kind: SessionGone, Session: name})
		x.worker = nil
		if s.cfg.Affinity != Strict {
			if x.uses == 0 {
				delete(s.sessions, name)
			}
			continue
		}
		x.lost, x.idle = true, s.now
		s.drop(SessionLost, func(q *simWaiter) bool { return q.op.Session == name })
	}
}

// drop refuses those who wait and are meant.
func (s *sim) drop(out Outcome, meant func(*simWaiter) bool) {
	for i := 0; i < len(s.queue); {
		q := s.queue[i]
		if !meant(q) {
			i++
			continue
		}
		s.queue = slices.Delete(s.queue, i, i+1)
		s.unuse(s.sessions[q.op.Session])
		s.change(Change{Kind: AcquireRefused, Session: q.op.Session, Outcome: out})
		q.refused(out)
	}
}

// match serves those who wait, in order of arrival, while one can be served.
func (s *sim) match() {
	if s.closing {
		return
	}
	backwards := s.cfg.fault == simOutOfOrder && len(s.queue) > 1 && s.queue[0].op.Session == "" && s.queue[len(s.queue)-1].op.Session == "" &&
		s.queue[0].op.Parked < s.queue[len(s.queue)-1].op.Call && s.faulty(simOutOfOrder)
	if backwards {
		slices.Reverse(s.queue)
		defer func() { slices.Reverse(s.queue) }()
	}
	for i := 0; i < len(s.queue); {
		q := s.queue[i]
		w := s.choose(s.session(q.op.Session))
		if w == nil {
			i++
			continue
		}
		if w.stale != nil {
			w.stale = nil
			defer func() {
				if w.lease != nil {
					w.lease = nil
					s.out--
				}
			}()
		}
		s.queue = slices.Delete(s.queue, i, i+1)
		s.grant(q, w)
		if x := s.sessions[q.op.Session]; x != nil && s.cfg.Affinity != None {
			x.uses--
		}
		if backwards {
			return
		}
	}
}

func (s *sim) resize(o *Op) {
	if s.closing {
		o.Outcome = Failed
		return
	}
	s.capacity = o.Max
	for len(s.workers) < o.Max {
		s.hire()
	}
	o.Seq = s.change(Change{Kind: Resized})
	s.match()
}

func (s *sim) close(o *Op, back func()) {
	o.Outcome = Done
	if !s.closing {
		s.closing = true
		o.Seq = s.change(Change{Kind: ClosingBegun})
		s.drop(Closed, func(*simWaiter) bool { return true })
	}
	if s.out == 0 || s.faulty(simCloseEarly) {
		back()
		return
	}
	s.onClosed = append(s.onClosed, back)
}
