package props

import (
	"time"

	"github.com/poolproof/poolproof/model"
)

// fullReal is the clock of real time. There rest cannot be known, only waited for: nothing
// has been reported for a while, no call is under way that cannot block, and what has been
// reported is something that the model allows.
type fullReal struct {
	quiet    time.Duration // how long nothing has to happen
	deadline time.Duration // after which the run is taken to be at rest as it is
	length   time.Duration // of a tick
	// allowed says whether the events so far are a whole answer; nil: always.
	allowed func(seen []model.Event) bool
}

func (c *fullReal) rest(r *fullRun) {
	begin := time.Now()
	last, events := begin, -1
	for {
		r.factory.mu.Lock()
		n := len(r.factory.events) + r.returned
		busy := false
		for i := range r.clients {
			busy = busy || r.clients[i].busy && !r.clients[i].parked
		}
		busy = busy || !r.landed()
		r.factory.mu.Unlock()
		now := time.Now()
		if n != events || busy {
			events, last = n, now
		}
		if now.Sub(begin) > c.deadline || now.Sub(last) >= c.quiet && c.whole(r) {
			return
		}
		time.Sleep(c.quiet / 4)
	}
}

// whole asks whether the events so far are a whole answer.
func (c *fullReal) whole(r *fullRun) bool {
	if c.allowed == nil {
		return true
	}
	return c.allowed(r.peek())
}

// restUntil is rest, but does not believe in it before cond holds.
func (c *fullReal) restUntil(r *fullRun, cond func() bool) {
	c.allowed = nil
	for begin := time.Now(); time.Since(begin) < c.deadline; time.Sleep(c.quiet / 4) {
		r.factory.mu.Lock()
		ok := cond()
		r.factory.mu.Unlock()
		if ok {
			break
		}
	}
	c.rest(r)
}

func (c *fullReal) tick(r *fullRun) {
	time.Sleep(c.length)
	c.rest(r)
}
