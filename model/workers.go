package model

// maySlot says that bounds allow a start.
func (m *machine) maySlot() bool {
	s := &m.s
	most := s.most
	if m.cfg.fault == faultStartBeyond {
		most = min(most+1, MaxWorkerSlots)
	}
	return s.live < most && (m.cfg.StartConcurrency == 0 || s.count(phaseStarting) < m.cfg.StartConcurrency)
}

func (m *machine) beginStart() {
	s := &m.s
	s.began++
	s.workers[s.live] = worker{id: s.began, phase: phaseStarting, start: uint8(m.cfg.StartTimeout)}
	s.live++
	m.emit(Event{Kind: EvStartBegun, Worker: s.began})
}

// starts begins the starts that are wanted; demand is D.
func (m *machine) starts(demand int) {
	s := &m.s
	if m.cfg.fault == faultNoStart {
		return
	}
	for s.backoff == 0 && m.maySlot() {
		inFlight, current := 0, 0
		for i := range s.live {
			if w := &s.workers[i]; w.phase == phaseStarting {
				inFlight++
				if w.flags&flagOld == 0 {
					current++
				}
			}
		}
		wanted := max(demand, int(s.least)-(int(s.live)-inFlight))
		if inFlight >= wanted || s.delay > 0 && (current > 0 || m.cfg.fault == faultNoProbe) {
			return
		}
		m.beginStart()
	}
}

// startReturned ends a Start.
func (m *machine) startReturned(id Worker, ok bool) {
	slot, _ := m.s.slot(id)
	w := &m.s.workers[slot]
	switch {
	case !ok && w.phase == phaseStarting:
		old := w.flags&flagOld != 0
		m.remove(slot)
		m.startFailed(old)
	case !ok:
		m.remove(slot)
	case w.phase == phaseStarting:
		m.s.delay, m.s.backoff = 0, 0
		*w = worker{id: id, phase: phaseIdle, life: uint8(m.cfg.MaxLifetime), check: m.cfg.checkPeriod()}
	default:
		m.beginStop(w)
	}
}

// startFailed is what follows from a start that failed and is no longer one.
func (m *machine) startFailed(old bool) {
	s := &m.s
	if !old && m.cfg.BackoffMin > 0 {
		s.delay = m.cfg.nextDelay(s.delay)
		s.backoff = s.delay
		for i := range s.live {
			if w := &s.workers[i]; w.phase == phaseStarting {
				w.flags |= flagOld
			}
		}
	}
	if s.present() > 0 || m.cfg.fault == faultSilentFailure {
		return
	}
	for i := s.waiting; i > 0; i-- {
		if !s.isBound(s.clients[s.queue[i-1]].session) {
			m.leave(i-1, ReasonStartFailed)
		}
	}
}

// retire is the word that a worker is dead.
func (m *machine) retire(id Worker) {
	slot, ok := m.s.slot(id)
	if !ok || m.s.closing != closingNot {
		return
	}
	w := &m.s.workers[slot]
	switch w.phase {
	case phaseStarting:
		m.giveUpStart(slot)
	case phaseIdle, phaseChecking, phaseTelling:
		m.stop(slot)
	case phaseLeased:
		m.unbindAll(slot)
		*w = worker{id: w.id, phase: phaseLeased, flags: flagRetired, holder: w.holder}
	}
}

// giveUpStart fails a start that goes on running.
func (m *machine) giveUpStart(slot uint8) {
	old := m.s.workers[slot].flags&flagOld != 0
	m.stop(slot)
	m.startFailed(old)
}

// stop makes a worker that is not leased enter stopping.
func (m *machine) stop(slot uint8) {
	m.unbindAll(slot)
	w := &m.s.workers[slot]
	last := *w
	*w = worker{id: last.id, phase: phaseStopping}
	switch last.phase {
	case phaseStarting:
		w.phase = phaseEndingStart
		m.emit(Event{Kind: EvStartCancelled, Worker: w.id})
	case phaseChecking:
		w.phase = phaseEndingCheck
		if last.flags&flagCancelled == 0 {
			m.emit(Event{Kind: EvCheckCancelled, Worker: w.id})
		}
	case phaseTelling:
		w.phase = phaseEndingTell
		m.emit(Event{Kind: EvTellCancelled, Worker: w.id})
	default:
		m.beginStop(w)
	}
}

func (m *machine) beginStop(w *worker) {
	w.phase = phaseStopping
	m.emit(Event{Kind: EvStopBegun, Worker: w.id})
}

// remove frees the slot of a worker that is gone.
func (m *machine) remove(slot uint8) {
	s := &m.s
	copy(s.workers[slot:], s.workers[slot+1:s.live])
	s.live--
	s.workers[s.live] = worker{}
	for i := range s.sessions {
		if e := &s.sessions[i]; e.status == sessionBound && e.worker > slot {
			e.worker--
		}
	}
	for i := range s.clients {
		if c := &s.clients[i]; c.phase == clientHolding && c.worker > slot {
			c.worker--
		}
	}
}

// beginChecks begins the checks that are due, as far as enough workers remain idle.
func (m *machine) beginChecks() {
	for m.cfg.checkPeriod() > 0 {
		var due uint8
		inCheck, all := 0, 0
		for i := range m.s.live {
			switch w := &m.s.workers[i]; w.phase {
			case phaseIdle:
				all++
				if w.flags&flagDue != 0 {
					due |= 1 << i
				}
			case phaseTelling:
				all++
			case phaseChecking:
				all++
				inCheck++
			}
		}
		if inCheck >= (all+3)/4 && m.cfg.fault != faultCheckAll {
			return
		}
		slot, ok := m.oneOf(due)
		if !ok {
			return
		}
		w := &m.s.workers[slot]
		w.phase, w.check = phaseChecking, 0
		w.flags &^= flagDue
		m.emit(Event{Kind: EvCheckBegun, Worker: w.id})
	}
}

// checkReturned ends a Check.
func (m *machine) checkReturned(id Worker, ok bool) {
	slot, _ := m.s.slot(id)
	w := &m.s.workers[slot]
	if w.phase == phaseEndingCheck {
		m.beginStop(w)
		return
	}
	cancelled := w.flags&flagCancelled != 0
	w.flags &^= flagCancelled
	w.phase, w.check = phaseIdle, m.cfg.checkPeriod()
	m.judge(slot, ok, cancelled)
}

// judge counts an answer of a worker that has become idle by it.
func (m *machine) judge(slot uint8, ok, ignored bool) {
	w := &m.s.workers[slot]
	switch {
	case ok:
		w.failures = 0
	case ignored:
	default:
		w.failures++
		if int(w.failures) >= m.cfg.checkFailures() {
			m.stop(slot)
		}
	}
}

// beginTells makes idle workers hear what they are still to be told.
func (m *machine) beginTells() {
	for i := range m.s.live {
		if w := &m.s.workers[i]; w.phase == phaseIdle && w.debts != 0 {
			w.phase = phaseTelling
			m.emit(Event{Kind: EvTellBegun, Worker: w.id, Session: w.debts.first()})
		}
	}
}

// tellReturned ends a SessionEnded.
func (m *machine) tellReturned(id Worker, ok bool) {
	slot, _ := m.s.slot(id)
	w := &m.s.workers[slot]
	if w.phase == phaseEndingTell {
		m.beginStop(w)
		return
	}
	w.phase, w.debts = phaseIdle, w.debts>>4
	m.judge(slot, ok, false)
}
