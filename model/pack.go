package model

// bitWriter appends fields of a key.
type bitWriter struct {
	k    *key
	word uint64
	at   uint8
	i    uint8
}

func (b *bitWriter) put(v uint64, width uint8) {
	b.word |= v << b.at
	b.at += width
	if b.at >= 64 {
		b.k[b.i] = b.word
		b.i++
		b.at -= 64
		b.word = v >> (width - b.at)
	}
}

// write packs s with the names given into k, which is zero.
func (l *layout) write(s *State, n *naming, k *key) {
	b := bitWriter{k: k}
	open := s.closing == closingNot
	b.put(uint64(s.closing), 2)
	if open {
		if l.sizes > 0 {
			b.put(uint64(s.least), l.sizes)
			b.put(uint64(s.most), l.sizes)
		}
		b.put(uint64(s.delay), l.delay)
		b.put(uint64(s.backoff), l.delay)
	} else {
		b.put(uint64(s.grace), l.grace)
		if s.revoked {
			b.put(1, 1)
		} else {
			b.put(0, 1)
		}
		revoked := uint64(0)
		for i := range s.clients {
			if s.clients[i].phase == clientRevoked {
				revoked++
			}
		}
		b.put(revoked, l.revocations)
	}
	b.put(uint64(s.live), 3)
	for _, slot := range n.workers[:s.live] {
		l.writeWorker(s, n, &s.workers[slot], &b)
	}
	l.writeQueue(s, n, &b)
	b.k[b.i] = b.word
}

// writeWorker packs a worker; its fields make one word at most.
func (l *layout) writeWorker(s *State, n *naming, w *worker, b *bitWriter) {
	v, at := uint64(w.phase), uint8(4)
	switch {
	case w.phase > phaseTelling:
	case w.phase == phaseStarting:
		v |= uint64(w.flags)<<at | uint64(w.start)<<(at+l.flags)
		at += l.flags + l.start
	default:
		v |= uint64(w.flags) << at
		at += l.flags
		if w.phase == phaseLeased {
			v |= uint64(n.place[s.clients[w.holder-1].session]) << at
			at += l.session
		}
		if !l.extras {
			break
		}
		v |= uint64(w.leases) << at
		at += l.leases
		v |= uint64(w.failures) << at
		at += l.failures
		v |= uint64(w.life) << at
		at += l.life
		v |= uint64(w.idle) << at
		at += l.unused
		v |= uint64(w.check) << at
		at += l.check
		if l.debts > 0 {
			v |= uint64(w.debts.count()) << at
			at += l.debts
		}
	}
	b.put(v, at)
}

// writeQueue packs the sessions and the queue.
func (l *layout) writeQueue(s *State, n *naming, b *bitWriter) {
	for _, i := range n.sessions[:l.cfg.Sessions] {
		e := &s.sessions[i]
		b.put(uint64(e.status), 2)
		if e.status == sessionBound {
			b.put(uint64(n.rank[e.worker]), 2)
		}
		if e.status >= sessionBound {
			b.put(uint64(e.ttl), l.ttl)
		}
	}
	b.put(uint64(s.waiting), 3)
	for _, c := range s.queue[:s.waiting] {
		b.put(uint64(n.place[s.clients[c].session]), l.session)
		b.put(uint64(s.clients[c].wait), l.wait)
	}
}

// bitReader reads fields of a key.
type bitReader struct {
	k  *key
	at uint
}

func (b *bitReader) get(width uint8) uint8 {
	i, at := b.at/64, b.at%64
	v := b.k[i] >> at
	if at+uint(width) > 64 {
		v |= b.k[i+1] << (64 - at)
	}
	b.at += uint(width)
	return uint8(v & (1<<width - 1))
}

// unpack returns a state with key k.
func (l *layout) unpack(k *key) State {
	b := bitReader{k: k}
	s := State{least: uint8(l.cfg.MinSize), most: uint8(l.cfg.MaxSize)}
	s.closing = closing(b.get(2))
	revoked := uint8(0)
	if s.closing == closingNot {
		if l.sizes > 0 {
			s.least, s.most = b.get(l.sizes), b.get(l.sizes)
		}
		s.delay, s.backoff = b.get(l.delay), b.get(l.delay)
	} else {
		s.grace = b.get(l.grace)
		s.revoked = b.get(1) == 1
		revoked = b.get(l.revocations)
	}
	s.live = b.get(3)
	s.began = Worker(s.live)
	var leases [MaxWorkerSlots]Session
	for i := range s.live {
		leases[i] = l.unpackWorker(&s.workers[i], &b)
		s.workers[i].id = Worker(i) + 1
	}
	for i := range l.cfg.Sessions {
		e := &s.sessions[i]
		e.status = sessionStatus(b.get(2))
		if e.status == sessionBound {
			e.worker = b.get(2)
			s.workers[e.worker].bindings++
		}
		if e.status >= sessionBound {
			e.ttl = b.get(l.ttl)
		}
	}
	next := b.get(3)
	s.waiting = next
	for i := range next {
		s.clients[i] = client{phase: clientWaiting, session: Session(b.get(l.session)), wait: b.get(l.wait)}
		s.queue[i] = i
	}
	for i := range s.live {
		if s.workers[i].phase == phaseLeased {
			s.clients[next] = client{phase: clientHolding, session: leases[i], worker: i}
			next++
			s.workers[i].holder = next
		}
	}
	for range revoked {
		s.clients[next].phase = clientRevoked
		next++
	}
	return s
}

// unpackWorker reads a worker, and returns the session that its lease counts for.
func (l *layout) unpackWorker(w *worker, b *bitReader) (id Session) {
	w.phase = phase(b.get(4))
	if w.phase > phaseTelling {
		return 0
	}
	w.flags = flags(b.get(l.flags))
	switch w.phase {
	case phaseStarting:
		w.start = b.get(l.start)
		return 0
	case phaseLeased:
		id = Session(b.get(l.session))
	}
	w.leases = b.get(l.leases)
	w.failures = b.get(l.failures)
	w.life = b.get(l.life)
	w.idle = b.get(l.unused)
	w.check = b.get(l.check)
	for i := range b.get(l.debts) {
		w.debts = w.debts.with(Session(i) + 1)
	}
	return id
}
