package model

// settle does what follows from a change by itself, until the pool is at rest.
func (m *machine) settle() {
	if m.s.closing != closingNot {
		m.settleClosing()
		return
	}
	m.stopIdle()
	m.shrink()
	if m.cfg.HasTell {
		m.beginTells()
	}
	demand := 0
	if m.s.waiting > 0 {
		m.serve()
		demand = m.demand()
	}
	m.starts(demand)
	m.beginChecks()
	m.countDown()
}

// stopIdle stops idle workers that are past, unless they still serve sessions.
func (m *machine) stopIdle() {
	if m.cfg.MaxLifetime == 0 && m.cfg.MaxLeases == 0 || m.cfg.fault == faultPastServes {
		return
	}
	for i := range m.s.live {
		w := &m.s.workers[i]
		if w.phase == phaseIdle && m.s.past(m.cfg, w) && (m.cfg.Affinity != Strict || w.bindings == 0) {
			m.stop(i)
		}
	}
}

// shrink stops idle workers beyond MaxSize, those with the fewest bindings first.
func (m *machine) shrink() {
	for m.s.live > m.s.most && m.s.present() > int(m.s.most) {
		var best, fewest uint8
		for i := range m.s.live {
			w := &m.s.workers[i]
			if w.phase != phaseIdle {
				continue
			}
			if best == 0 || w.bindings < fewest {
				best, fewest = 0, w.bindings
			}
			if w.bindings == fewest {
				best |= 1 << i
			}
		}
		slot, ok := m.oneOf(best)
		if !ok {
			return
		}
		m.stop(slot)
	}
}

// demand returns D, the number of waiters that starts are wanted for, and cancels the
// checks of workers that waiters could use. There is at most one such check: of
// MaxWorkerSlots idle workers, one at a time is checked.
func (m *machine) demand() int {
	s := &m.s
	d := 0
	anyChecked := m.cfg.checkPeriod() > 0 && s.count(phaseChecking) > 0
	var asked, provided uint8 // sessions, workers
	for _, c := range s.queue[:s.waiting] {
		id := s.clients[c].session
		isBound := s.isBound(id)
		counted := !isBound && asked>>id&1 == 0 || isBound && m.cfg.Affinity == Prefer
		if id != 0 {
			asked |= 1 << id
		}
		if !counted && !isBound {
			continue
		}
		if counted {
			d++
		}
		if !anyChecked {
			continue
		}
		slot, ok := m.checked(id, isBound, provided)
		if !ok {
			continue
		}
		provided |= 1 << slot
		m.cancelCheck(slot)
		if counted {
			d--
		}
	}
	return d
}

// checked chooses a worker in a check that a waiter could use.
func (m *machine) checked(id Session, isBound bool, except uint8) (slot uint8, ok bool) {
	if isBound {
		own := m.s.session(id).worker
		if m.s.workers[own].phase == phaseChecking && except>>own&1 == 0 && m.s.mayUse(m.cfg, id, own) {
			return own, true
		}
		if m.cfg.Affinity != Prefer {
			return 0, false
		}
	}
	return m.fewestBindings(id, phaseChecking, except)
}

func (m *machine) cancelCheck(slot uint8) {
	w := &m.s.workers[slot]
	if w.flags&flagCancelled == 0 {
		w.flags |= flagCancelled
		m.emit(Event{Kind: EvCheckCancelled, Worker: w.id})
	}
}

// close is the beginning of a Close; force, that of a Shutdown whose context has ended.
func (m *machine) close(force bool) {
	s := &m.s
	if s.closing == closingReturns {
		m.emitClosed()
		return
	}
	if s.closing == closingNot {
		m.beginClosing()
	}
	if !force {
		return
	}
	for i := range s.live {
		w := &s.workers[i]
		if w.phase != phaseLeased {
			continue
		}
		s.revoked = true
		s.clients[w.holder-1] = client{phase: clientRevoked}
		m.emit(Event{Kind: EvRevoked, Client: Client(w.holder)})
		m.stop(i)
	}
}

func (m *machine) beginClosing() {
	s := &m.s
	s.closing = closingBegun
	s.delay, s.backoff = 0, 0
	for s.waiting > 0 && m.cfg.fault != faultCloseStrands {
		m.refuse(m.unqueue(0), ReasonClosed)
	}
	s.sessions = [MaxSessionSlots]session{}
	for i := range s.live {
		switch w := &s.workers[i]; w.phase {
		case phaseLeased:
			s.clients[w.holder-1].session = 0
			*w = worker{id: w.id, phase: phaseLeased, holder: w.holder}
		case phaseStarting, phaseIdle, phaseChecking, phaseTelling:
			w.bindings = 0
			m.stop(i)
		}
	}
}

// settleClosing is settle once closing has begun.
func (m *machine) settleClosing() {
	s := &m.s
	for i := range s.live {
		if s.workers[i].phase == phaseIdle {
			m.stop(i)
		}
	}
	switch {
	case s.closing != closingBegun:
	case s.live == 0:
		m.endClosing()
	case s.grace == 0 && s.leasesOut() == 0:
		s.grace = uint8(m.cfg.StopTimeout)
	}
}

// endClosing lets every Close and Shutdown return.
func (m *machine) endClosing() {
	m.s.closing, m.s.grace = closingReturns, 0
	m.emitClosed()
}

func (m *machine) emitClosed() {
	e := Event{Kind: EvClosed}
	if m.s.revoked || m.s.live > 0 {
		e.Reason = ReasonForced
	}
	m.emit(e)
}
