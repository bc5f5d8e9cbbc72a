package model

// deadline names something that happens at a certain time.
type deadline uint8

const (
	sessionEnds    deadline = iota // one for each session slot, and so on
	acquireTimeout          = sessionEnds + MaxSessionSlots
	startTimeout            = acquireTimeout + MaxClientSlots
	checkDue                = startTimeout + MaxWorkerSlots
	idleTimeout             = checkDue + MaxWorkerSlots
	backoffEnds             = idleTimeout + MaxWorkerSlots
	graceEnds               = backoffEnds + 1
	noDeadline              = graceEnds + 1
)

// tick lets a tick pass. Deadlines that it reaches are marked to be served; those that
// concern nobody else are served.
func (m *machine) tick() {
	s := &m.s
	for i := range s.sessions {
		pass(&s.sessions[i].ttl)
	}
	for _, c := range s.queue[:s.waiting] {
		pass(&s.clients[c].wait)
	}
	pass(&s.backoff)
	pass(&s.grace)
	for i := range s.live {
		w := &s.workers[i]
		pass(&w.start)
		if w.life > 0 {
			w.life--
		}
		pass(&w.check)
		if w.check == dueNow && (w.phase != phaseIdle || w.flags&flagDue != 0) {
			w.check = m.cfg.checkPeriod()
		}
		if m.cfg.MaxIdleTime > 0 && w.bindings == 0 && (w.phase == phaseIdle ||
			(w.phase == phaseChecking || w.phase == phaseTelling) && int(w.idle) < m.cfg.MaxIdleTime) {
			w.idle++
		}
	}
}

// pass lets a tick pass for a time; zero is one that does not run.
func pass(left *uint8) {
	switch *left {
	case 0:
	case 1:
		*left = dueNow
	default:
		*left--
	}
}

// due returns the deadlines that have to be served now, and those that may be.
func (s *State) due(cfg *Config) (must, may uint32) {
	for i := range s.sessions {
		if s.sessions[i].ttl == dueNow {
			must |= 1 << (int(sessionEnds) + i)
		}
	}
	for _, c := range s.queue[:s.waiting] {
		if s.clients[c].wait == dueNow {
			must |= 1 << (uint8(acquireTimeout) + c)
		}
	}
	for i := range s.live {
		w := &s.workers[i]
		if w.start == dueNow {
			must |= 1 << (uint8(startTimeout) + i)
		}
		if w.check == dueNow {
			must |= 1 << (uint8(checkDue) + i)
		}
		if cfg.MaxIdleTime > 0 && w.phase == phaseIdle && w.bindings == 0 && int(w.idle) >= cfg.MaxIdleTime {
			if int(w.idle) >= cfg.MaxIdleTime+cfg.IdleSlack {
				must |= 1 << (uint8(idleTimeout) + i)
			} else {
				may |= 1 << (uint8(idleTimeout) + i)
			}
		}
	}
	if s.backoff == dueNow {
		must |= 1 << backoffEnds
	}
	if s.grace == dueNow {
		must |= 1 << graceEnds
	}
	return must, may
}

// serveDeadline does what happens at a deadline that has been reached.
func (m *machine) serveDeadline(d deadline) {
	s := &m.s
	switch {
	case d >= noDeadline:
	case d == graceEnds:
		m.endClosing()
	case d == backoffEnds:
		s.backoff = 0
	case d >= idleTimeout:
		slot := uint8(d - idleTimeout)
		s.workers[slot].idle = 0
		if s.present() > int(s.least) {
			m.stop(slot)
		}
	case d >= checkDue:
		w := &s.workers[d-checkDue]
		w.check = m.cfg.checkPeriod()
		if w.phase == phaseIdle {
			w.flags |= flagDue
		}
	case d >= startTimeout:
		m.giveUpStart(uint8(d - startTimeout))
	case d >= acquireTimeout:
		m.leave(m.place(uint8(d-acquireTimeout)), ReasonTimeout)
	default:
		m.expire(Session(d-sessionEnds) + 1)
	}
}

// expire ends a session whose time is over.
func (m *machine) expire(id Session) {
	if m.s.isBound(id) {
		m.unbind(id)
	}
	m.forget(id)
}
