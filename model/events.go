package model

import "slices"

// maxEvents bounds the events of one op: every client has at most two, and every worker
// three.
const maxEvents = 2*MaxClientSlots + 3*MaxWorkerSlots

// Events are the events of one op, in a canonical order. They can be compared.
type Events struct {
	n    uint8
	list [maxEvents]packedEvent
}

// packedEvent is an Event in 32 bits; its order is the canonical one.
type packedEvent uint32

func packEvent(e Event) packedEvent {
	p := packedEvent(e.Kind)<<28 | packedEvent(e.Client)<<24 | packedEvent(e.Worker)<<8 | packedEvent(e.Session)<<5
	p |= packedEvent(e.Reason) << 1
	if e.Fresh {
		p |= 1
	}
	return p
}

func (p packedEvent) unpack() Event {
	return Event{
		Kind: EventKind(p >> 28), Client: Client(p >> 24 & 15), Worker: Worker(p >> 8),
		Session: Session(p >> 5 & 7), Reason: Reason(p >> 1 & 15), Fresh: p&1 != 0,
	}
}

// EventsOf returns the given events, of which there may be as many as one op can have.
// Events that no op can have are kept as far as they can be told from all others.
func EventsOf(list ...Event) (e Events, ok bool) {
	if len(list) > maxEvents {
		return e, false
	}
	for _, ev := range list {
		p := packEvent(ev)
		if p.unpack() != ev {
			return e, false
		}
		e.add(ev)
	}
	e.sort()
	return e, true
}

// Len returns the number of events.
func (e *Events) Len() int { return int(e.n) }

// At returns the i-th event.
func (e *Events) At(i int) Event { return e.list[:e.n][i].unpack() }

// All returns the events.
func (e *Events) All() []Event {
	list := make([]Event, e.n)
	for i := range list {
		list[i] = e.At(i)
	}
	return list
}

func (e *Events) add(ev Event) {
	e.list[e.n] = packEvent(ev)
	e.n++
}

func (e *Events) sort() {
	if e.n > 1 {
		slices.Sort(e.list[:e.n])
	}
}
