package model

import (
	"fmt"
	"math/bits"
)

// keyWords is the longest key, in words.
const keyWords = 5

// key is a state without the names of workers, sessions and clients, packed: two states
// have the same key exactly if renaming turns one into the other. What a worker is to be
// told is reduced to its number, since names have no effect on what follows.
type key [keyWords]uint64

// layout says how many bits the fields of a key take under a Config.
type layout struct {
	cfg   *Config
	words int

	sizes, delay, grace                           uint8
	flags, leases, failures, start, life, unused  uint8
	check, debts, session, wait, ttl, revocations uint8

	extras bool // workers have fields that only some configurations need
}

// newLayout returns the layout for cfg; an error if keys are too short for it.
func newLayout(cfg *Config) (*layout, error) {
	width := func(most int) uint8 { return uint8(bits.Len(uint(most))) }
	l := &layout{
		cfg:         cfg,
		delay:       width(max(cfg.BackoffMin, cfg.BackoffMax)),
		grace:       width(cfg.StopTimeout),
		flags:       4,
		leases:      width(cfg.MaxLeases),
		start:       width(cfg.StartTimeout),
		life:        width(cfg.MaxLifetime),
		check:       width(int(cfg.checkPeriod())),
		session:     width(cfg.Sessions),
		wait:        width(cfg.AcquireTimeout),
		ttl:         width(cfg.SessionTTL),
		revocations: width(cfg.Clients),
	}
	if len(cfg.Offer.Resizes) > 0 {
		l.sizes = 3
	}
	if cfg.MaxIdleTime > 0 {
		l.unused = width(cfg.MaxIdleTime + cfg.IdleSlack)
	}
	if cfg.HasTell {
		l.debts = width(cfg.Sessions)
	}
	if cfg.HasTell || cfg.checkPeriod() > 0 {
		l.failures = width(cfg.checkFailures() - 1)
	} else {
		l.flags = 2
	}
	l.extras = l.leases+l.failures+l.life+l.unused+l.check+l.debts > 0
	slots := cfg.slots()
	if cfg.fault != faultNone {
		slots = MaxWorkerSlots
	}
	perWorker := 4 + l.flags + l.leases + l.failures + l.start + l.life + l.unused + l.check + l.debts + l.session
	total := 2 + 1 + 2*int(l.sizes) + 2*int(l.delay) + int(l.grace) + 3 + slots*int(perWorker) +
		cfg.Sessions*int(2+2+l.ttl) + 3 + cfg.Clients*int(l.session+l.wait) + int(l.revocations)
	l.words = total/64 + 1
	if l.words > keyWords {
		return nil, fmt.Errorf("model: a state takes %d bits, want at most %d", total, 64*keyWords)
	}
	return l, nil
}

// naming is an order of workers and of sessions: which slot comes in which place.
type naming struct {
	workers  [MaxWorkerSlots]uint8
	sessions [MaxSessionSlots]uint8
	place    [MaxSessionSlots + 1]uint8 // of a session, from 1; 0 for none

	marks  [MaxWorkerSlots]uint64
	queued [MaxSessionSlots + 1]uint8 // places of a session in the queue
	rank   [MaxWorkerSlots]uint8      // the place of a worker
}

// pack returns the key of s.
func (l *layout) pack(s *State) (k key) {
	l.packInto(s, &k)
	return k
}

// packInto is pack for those who are in a hurry.
func (l *layout) packInto(s *State, k *key) {
	n := naming{workers: [...]uint8{0, 1, 2, 3}}
	l.packNamed(s, &n, k)
}

// packNamed is packInto that leaves in n, which is fresh, the order that the key has.
func (l *layout) packNamed(s *State, n *naming, k *key) {
	*k = key{}
	for i, c := range s.queue[:s.waiting] {
		n.queued[s.clients[c].session] |= 1 << i
	}
	if s.live > 1 {
		crossed := l.markWorkers(s, n)
		if ties := n.sortWorkers(s.live); ties && crossed {
			l.packLeast(s, n, k)
			return
		}
	}
	l.sortSessions(s, n)
	l.write(s, n, k)
}

// mix scatters the bits of x.
func mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>29
}

// blur scatters the bits of x less well, and faster.
func blur(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// attributes are the fields of a worker that do not refer to others.
func (w *worker) attributes() uint64 {
	return uint64(w.phase) | uint64(w.flags)<<4 | uint64(w.leases)<<8 | uint64(w.failures)<<16 |
		uint64(w.start+w.life)<<24 | uint64(w.idle)<<32 | uint64(w.check)<<40 | uint64(w.debts.count())<<48
}

// markWorkers gives each worker a mark that does not depend on names: of what it is and of
// the sessions that are bound to it or lease it. It returns whether some session leases
// another worker than it is bound to: then workers with the same mark may differ.
func (l *layout) markWorkers(s *State, n *naming) (crossed bool) {
	for i := range s.live {
		w := &s.workers[i]
		n.marks[i] = blur(w.attributes())
		if w.holder == 0 {
			continue
		}
		if id := s.clients[w.holder-1].session; id != 0 {
			e := s.session(id)
			if e.status == sessionBound && e.worker == i {
				n.marks[i] += blur(1 << 16)
			} else {
				n.marks[i] += blur(2<<16 | uint64(e.status)<<8 | uint64(n.queued[id]))
				crossed = true
			}
		}
	}
	for i := range l.cfg.Sessions {
		if e := &s.sessions[i]; e.status == sessionBound {
			n.marks[e.worker] += blur(3<<16 | uint64(e.ttl)<<8 | uint64(n.queued[i+1]))
		}
	}
	return crossed
}

// sortWorkers orders the workers by their marks, and says whether some are equal.
func (n *naming) sortWorkers(live uint8) (ties bool) {
	for i := 1; i < int(live); i++ {
		for j := i; j > 0; j-- {
			a, b := n.workers[j-1], n.workers[j]
			if n.marks[a] <= n.marks[b] {
				ties = ties || n.marks[a] == n.marks[b]
				break
			}
			n.workers[j-1], n.workers[j] = b, a
		}
	}
	return ties
}

// packLeast finds the least key of all orders of workers with equal marks, and leaves its
// order in n.
func (l *layout) packLeast(s *State, n *naming, best *key) {
	found, order := false, *n
	var try func(i int)
	try = func(i int) {
		if i == int(s.live) {
			l.sortSessions(s, n)
			var k key
			if l.write(s, n, &k); !found || k.less(best) {
				*best, order, found = k, *n, true
			}
			return
		}
		for j := i; j < int(s.live) && n.marks[n.workers[j]] == n.marks[n.workers[i]]; j++ {
			n.workers[i], n.workers[j] = n.workers[j], n.workers[i]
			try(i + 1)
			n.workers[i], n.workers[j] = n.workers[j], n.workers[i]
		}
	}
	try(0)
	*n = order
}

func (k *key) less(other *key) bool {
	for i := range k {
		if k[i] != other[i] {
			return k[i] < other[i]
		}
	}
	return false
}

// sortSessions orders the sessions, given an order of workers; unknown ones come last.
func (l *layout) sortSessions(s *State, n *naming) {
	var leases [MaxSessionSlots + 1]uint8 // places of the workers that a session leases
	for i := range s.live {
		slot := n.workers[i]
		n.rank[slot] = i
		if h := s.workers[slot].holder; h != 0 {
			leases[s.clients[h-1].session] |= 1 << i
		}
	}
	var order [MaxSessionSlots]uint64
	for i := range l.cfg.Sessions {
		e := &s.sessions[i]
		o := uint64(1) << 40
		if e.status != sessionUnknown {
			o = uint64(e.status)<<32 | uint64(e.ttl)<<24 | uint64(n.queued[i+1])<<16 | uint64(leases[i+1])<<8
			if e.status == sessionBound {
				o |= uint64(n.rank[e.worker])
			}
		}
		j := i
		for ; j > 0 && order[j-1] > o; j-- {
			order[j], n.sessions[j] = order[j-1], n.sessions[j-1]
		}
		order[j], n.sessions[j] = o, uint8(i)
	}
	for i := range l.cfg.Sessions {
		n.place[n.sessions[i]+1] = uint8(i) + 1
	}
}
