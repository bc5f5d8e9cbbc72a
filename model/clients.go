package model

import "math/bits"

// acquire is the entry of an acquire or a try.
func (m *machine) acquire(op Op) {
	slot, id := uint8(op.Client-1), op.Session
	if reason := m.refusal(id); reason != ReasonNone {
		m.refuse(slot, reason)
		return
	}
	if worker, ok := m.pick(id); ok {
		m.grant(slot, id, worker, op.Kind == OpAcquire)
		return
	}
	switch {
	case op.Kind == OpTry:
		m.refuse(slot, ReasonNotAvailable)
	case m.s.backoff > 0 && !m.s.couldServe(m.cfg, id):
		m.refuse(slot, ReasonStartFailed)
	case m.saturated():
		m.refuse(slot, ReasonSaturated)
	default:
		m.park(slot, id)
	}
}

// refusal says why an acquire for id gets nothing whatever is idle.
func (m *machine) refusal(id Session) Reason {
	switch {
	case m.s.closing != closingNot:
		return ReasonClosed
	case id == 0:
		return ReasonNone
	case m.s.session(id).status == sessionLost:
		return ReasonLost
	case m.s.session(id).status == sessionUnknown && m.s.known() >= m.cfg.maxSessions(m.s.most):
		return ReasonLimit
	}
	return ReasonNone
}

// saturated says that the queue is full.
func (m *machine) saturated() bool {
	if m.cfg.MaxWaiters == 0 {
		return false
	}
	room := m.cfg.MaxWaiters + m.s.count(phaseStarting)
	if m.s.backoff == 0 {
		room += max(0, int(m.s.most)-int(m.s.live))
	}
	return int(m.s.waiting) >= room && m.cfg.fault != faultUnboundedQueue
}

func (m *machine) park(slot uint8, id Session) {
	m.s.clients[slot] = client{phase: clientWaiting, session: id, wait: uint8(m.cfg.AcquireTimeout)}
	m.s.queue[m.s.waiting] = slot
	m.s.waiting++
	if id != 0 && m.s.session(id).status == sessionUnknown {
		m.s.session(id).status = sessionUnbound
	}
}

// pick chooses an idle worker for an acquire for id.
func (m *machine) pick(id Session) (slot uint8, ok bool) {
	if m.s.isBound(id) {
		own := m.s.session(id).worker
		if m.s.workers[own].phase == phaseIdle && m.s.mayUse(m.cfg, id, own) {
			return own, true
		}
		if m.cfg.Affinity != Prefer {
			return 0, false
		}
	}
	return m.fewestBindings(id, phaseIdle, 0)
}

// fewestBindings chooses, among the workers in a phase that an acquire for id may use and
// that are not among those excepted, one with the fewest bindings.
func (m *machine) fewestBindings(id Session, p phase, except uint8) (slot uint8, ok bool) {
	var best, fewest uint8
	for i := range m.s.live {
		w := &m.s.workers[i]
		if w.phase != p || except>>i&1 != 0 || !m.s.mayUse(m.cfg, id, i) {
			continue
		}
		if best == 0 || w.bindings < fewest {
			best, fewest = 0, w.bindings
		}
		if w.bindings == fewest {
			best |= 1 << i
		}
	}
	return m.oneOf(best)
}

// oneOf chooses a slot out of a set.
func (m *machine) oneOf(set uint8) (slot uint8, ok bool) {
	if set == 0 {
		return 0, false
	}
	if set&(set-1) != 0 {
		for range m.choose(bits.OnesCount8(set)) {
			set &= set - 1
		}
	}
	return uint8(bits.TrailingZeros8(set)), true
}

// grant gives an idle worker to a client. Only an acquire, not a try, spreads.
func (m *machine) grant(slot uint8, id Session, worker uint8, spreads bool) {
	w := &m.s.workers[worker]
	fresh := id != 0 && (!m.s.isBound(id) || m.s.session(id).worker != worker)
	if fresh {
		if m.s.isBound(id) {
			m.unbind(id)
		}
		*m.s.session(id) = session{status: sessionBound, worker: worker}
		w.bindings++
	}
	w.phase, w.holder, w.idle = phaseLeased, slot+1, 0
	w.flags &^= flagDue
	if int(w.leases) < m.cfg.MaxLeases {
		w.leases++
	}
	m.s.clients[slot] = client{phase: clientHolding, session: id, worker: worker}
	m.emit(Event{Kind: EvGranted, Client: Client(slot + 1), Worker: w.id, Fresh: fresh})
	if fresh && spreads && w.bindings > 1 && m.s.delay == 0 && m.maySlot() {
		m.beginStart()
	}
}

// refuse ends a client's call without a lease.
func (m *machine) refuse(slot uint8, reason Reason) {
	m.s.clients[slot] = client{}
	m.emit(Event{Kind: EvRefused, Client: Client(slot + 1), Reason: reason})
}

// place returns where in the queue a client is.
func (m *machine) place(slot uint8) uint8 {
	for i, c := range m.s.queue[:m.s.waiting] {
		if c == slot {
			return uint8(i)
		}
	}
	panic("model: a waiting client is not in the queue")
}

// unqueue takes the client at a place out of the queue.
func (m *machine) unqueue(place uint8) (slot uint8) {
	slot = m.s.queue[place]
	copy(m.s.queue[place:], m.s.queue[place+1:m.s.waiting])
	m.s.waiting--
	m.s.queue[m.s.waiting] = 0
	return slot
}

// leave makes the waiter at a place of the queue leave without a lease.
func (m *machine) leave(place uint8, reason Reason) {
	slot := m.unqueue(place)
	id := m.s.clients[slot].session
	m.refuse(slot, reason)
	if id != 0 && m.s.session(id).status == sessionUnbound && !m.s.hasWaiter(id) {
		m.forget(id)
	}
}

// serve grants what is idle to waiters, in order of arrival.
func (m *machine) serve() {
	if m.s.count(phaseIdle) == 0 {
		return
	}
	for i := uint8(0); i < m.s.waiting; {
		id := m.s.clients[m.s.queue[i]].session
		worker, ok := m.pick(id)
		if !ok || m.cfg.fault == faultBoundStuck && m.s.isBound(id) {
			i++
			continue
		}
		m.grant(m.unqueue(i), id, worker, true)
	}
}

// release ends a lease.
func (m *machine) release(op Op) {
	c := &m.s.clients[op.Client-1]
	slot, revoked := c.worker, c.phase == clientRevoked
	*c = client{}
	if revoked {
		if m.cfg.fault == faultRevokedRelease && m.s.live > 0 {
			m.remove(slot)
		}
		return
	}
	w := &m.s.workers[slot]
	w.holder = 0
	if op.Kind != OpRelease || w.flags&flagRetired != 0 && m.cfg.fault != faultRetiredServes {
		m.stop(slot)
		return
	}
	w.phase, w.idle = phaseIdle, 0
}

// giveBack undoes a grant whose caller had given up when it learned of it.
func (m *machine) giveBack(op Op) {
	c := &m.s.clients[op.Client-1]
	slot, id, revoked := c.worker, c.session, c.phase == clientRevoked
	*c = client{}
	if revoked {
		return
	}
	w := &m.s.workers[slot]
	w.holder = 0
	// Under Strict a worker may have had more leases than are counted.
	over := m.cfg.Affinity == Strict && int(w.leases) == m.cfg.MaxLeases
	if w.leases > 0 && (!over || m.choose(2) == 0) {
		w.leases--
	}
	if id != 0 && id == op.Session && m.s.isBound(id) && m.s.session(id).worker == slot {
		w.bindings--
		if m.s.hasWaiter(id) {
			*m.s.session(id) = session{status: sessionUnbound}
		} else {
			m.forget(id)
		}
	}
	if w.flags&flagRetired != 0 {
		m.stop(slot)
		return
	}
	w.phase, w.idle = phaseIdle, 0
}
