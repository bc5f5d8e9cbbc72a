package fallback

import (
	"time"

	"github.com/poolproof/poolproof/pool"
)

// none is the layer of a session that is bound to none.
const none = -1

// session is what the chain knows of one session: the only record of its binding. It is
// guarded by Chain.mu.
type session struct {
	id     pool.SessionID
	layer  int    // that it is bound to; none
	epoch  uint64 // counts the changes of layer
	calls  int    // that are looking for a lease
	visits int    // of these, calls that are asking a pool
	leases int    // that are out, of this epoch
	places []place

	known      bool // it counts towards MaxSessions
	rest       time.Time
	resting    bool // it is in the table's list
	prev, next *session
}

// place is what the chain knows of a session in one layer. What the layer's pool binds
// there is a function of its own calls; so that it never holds a binding which the chain
// does not know of, the pool is told EndSession whenever it might. While it is being told,
// no call of the session asks it; and a grant from before, which may be of the old binding
// or of a new one, is given back.
type place struct {
	stale   bool          // the pool must be told
	tells   uint64        // how often it was, or began to be
	telling chan struct{} // while it is; closed afterwards
}

// tell is an EndSession that is to be passed on, without the lock.
type tell struct {
	s     *session
	layer int
}

// table holds the sessions. It is guarded by Chain.mu.
type table struct {
	ttl         time.Duration
	sessions    map[pool.SessionID]*session
	known       int
	first, last *session // at rest, in the order in which they came to rest
	tells       []tell   // to be carried out
}

// expire ends the bindings of the sessions whose time is over.
func (t *table) expire(now time.Time) {
	for t.ttl > 0 && t.first != nil && now.Sub(t.first.rest) >= t.ttl {
		t.end(t.first, now)
	}
}

// enter returns the session of a call that begins, or nil if there are most already; zero
// is no limit.
func (t *table) enter(id pool.SessionID, layers, most int, now time.Time) *session {
	s := t.sessions[id]
	if (s == nil || !s.known) && most > 0 && t.known >= most {
		return nil
	}
	if s == nil {
		s = &session{id: id, layer: none, places: make([]place, layers)}
		t.sessions[id] = s
	}
	s.calls++
	t.settle(s, now)
	return s
}

// bind binds s to a layer, and reports which one it was bound to.
func (t *table) bind(s *session, layer int, now time.Time) (from int) {
	from = s.layer
	s.layer = layer
	s.epoch++
	s.leases = 0
	if from != none {
		t.stale(s, from)
	}
	t.settle(s, now)
	return from
}

// end ends the binding of s.
func (t *table) end(s *session, now time.Time) {
	if s.layer != none {
		t.bind(s, none, now)
	}
}

// stale says that a pool may have a binding of s that s has not.
func (t *table) stale(s *session, layer int) {
	p := &s.places[layer]
	p.stale = true
	if p.telling == nil {
		t.tell(s, layer)
	}
}

func (t *table) tell(s *session, layer int) {
	p := &s.places[layer]
	p.stale = false
	p.tells++
	p.telling = make(chan struct{})
	t.tells = append(t.tells, tell{s, layer})
}

// told ends a tell.
func (t *table) told(x tell, now time.Time) {
	p := &x.s.places[x.layer]
	close(p.telling)
	p.telling = nil
	if p.stale {
		t.tell(x.s, x.layer)
	}
	t.settle(x.s, now)
}

// settle brings what follows from the state of s up to date: whether it is at rest, and
// whether it must be remembered.
func (t *table) settle(s *session, now time.Time) {
	if resting := s.layer != none && s.visits == 0 && s.leases == 0; resting != s.resting {
		s.resting = resting
		if resting {
			s.rest = now
			t.push(s)
		} else {
			t.remove(s)
		}
	}
	known := s.layer != none || s.calls > 0
	if known != s.known {
		s.known = known
		if known {
			t.known++
		} else {
			t.known--
		}
	}
	if known {
		return
	}
	for i := range s.places {
		if s.places[i].telling != nil {
			return
		}
	}
	delete(t.sessions, s.id)
}

func (t *table) push(s *session) {
	s.prev, s.next = t.last, nil
	if t.last != nil {
		t.last.next = s
	} else {
		t.first = s
	}
	t.last = s
}

func (t *table) remove(s *session) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		t.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		t.last = s.prev
	}
	s.prev, s.next = nil, nil
}
