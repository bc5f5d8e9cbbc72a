package model

// unbind ends the binding of a session whose worker stays.
func (m *machine) unbind(id Session) {
	w := &m.s.workers[m.s.session(id).worker]
	w.bindings--
	if m.cfg.HasTell && w.flags&flagRetired == 0 {
		w.debts = w.debts.with(id)
	}
	m.s.session(id).worker = 0
}

// unbindAll ends the bindings of a worker that goes.
func (m *machine) unbindAll(worker uint8) {
	w := &m.s.workers[worker]
	w.debts = 0
	for id := Session(1); w.bindings > 0 && id <= MaxSessionSlots; id++ {
		if !m.s.isBound(id) || m.s.session(id).worker != worker {
			continue
		}
		w.bindings--
		switch {
		case m.cfg.Affinity == Strict && m.cfg.fault != faultLostRebinds:
			m.lose(id)
		case m.s.hasWaiter(id):
			*m.s.session(id) = session{status: sessionUnbound}
		default:
			m.forget(id)
		}
	}
}

// lose makes a session lost and fails its waiters.
func (m *machine) lose(id Session) {
	m.forget(id)
	*m.s.session(id) = session{status: sessionLost, ttl: uint8(m.cfg.SessionTTL)}
	if m.cfg.fault == faultLostStuck {
		return
	}
	for i := m.s.waiting; i > 0; i-- {
		if m.s.clients[m.s.queue[i-1]].session == id {
			m.leave(i-1, ReasonLost)
		}
	}
}

// forget ends the epoch of a session. No lease counts for it any more.
func (m *machine) forget(id Session) {
	*m.s.session(id) = session{}
	for i := range m.s.live {
		if h := m.s.workers[i].holder; h != 0 && m.s.clients[h-1].session == id {
			m.s.clients[h-1].session = 0
		}
	}
}

// endSession forgets a session; its waiters are those of a new one.
func (m *machine) endSession(id Session) {
	if m.s.isBound(id) {
		m.unbind(id)
	}
	m.forget(id)
	if m.s.hasWaiter(id) {
		m.s.session(id).status = sessionUnbound
	}
}

// countDown starts and stops the times of sessions without lease and waiter.
func (m *machine) countDown() {
	if m.cfg.SessionTTL == 0 {
		return
	}
	for id := Session(1); id <= MaxSessionSlots; id++ {
		if !m.s.isBound(id) {
			continue
		}
		switch e := m.s.session(id); {
		case m.s.hasLease(id) || m.s.hasWaiter(id):
			e.ttl = 0
		case e.ttl == 0:
			e.ttl = uint8(m.cfg.SessionTTL)
		}
	}
}
