package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
)

// running is a call on its way.
type running struct {
	cancel context.CancelCauseFunc
	ending chan ending // for its function
	inside bool        // its function runs
	over   bool
	served fallback.Served
	err    error
	how    string // "panic" or "goexit", if it did not return
	ran    string
}

// run is one run of a script.
type run struct {
	chain   subject
	layers  []*fakeLayer
	model   *model
	told    []string
	changes [][]string // by layer
	held    [slots]*running
	asked   [slots]*modelCall
	wrong   error
}

// runScript runs s in a bubble of t, and returns how chain and model differ. open makes
// the chain.
func runScript(t *testing.T, keeper *recorded.Keeper, s script, open func(fallback.Config[worker]) (subject, error)) (wrong error) {
	synctest.Test(t, func(*testing.T) {
		r := &run{changes: make([][]string, len(s.cfg.Layers))}
		cfg := s.cfg
		cfg.Layers = slices.Clone(cfg.Layers)
		for i := range cfg.Layers {
			l := &fakeLayer{name: cfg.Layers[i].Name, told: &r.told}
			p, err := recorded.OpenWith(keeper, t.Name(), pool.Config[worker]{
				Start:   func(_ context.Context, id pool.WorkerID) (worker, error) { return worker{l.name, id}, nil },
				MaxSize: slots + 1, Affinity: pool.Prefer,
			}, pool.New[worker])
			if err != nil {
				wrong = err
				return
			}
			defer func() {
				if wrong = errors.Join(wrong, p.Close()); wrong == nil {
					wrong = p.Judge()
				}
			}()
			l.layerPool = p
			r.layers, cfg.Layers[i].Pool = append(r.layers, l), l
		}
		cfg.OnChange = func(c fallback.Change) {
			i := slices.IndexFunc(cfg.Layers, func(l fallback.Layer[worker]) bool { return l.Name == c.Layer })
			r.changes[i] = append(r.changes[i], fmt.Sprintf("%v to %v", c.From, c.To))
			if (c.Cause != nil) != (c.To == fallback.Open) {
				r.fail("layer %s becomes %v for %v", c.Layer, c.To, c.Cause)
			}
		}
		r.model = newModel(cfg)
		if r.chain, wrong = open(cfg); wrong != nil {
			return
		}
		defer r.letGo()
		for _, o := range s.ops {
			if r.step(o); r.wrong != nil {
				wrong = fmt.Errorf("%v: %w", o, r.wrong)
				return
			}
		}
		wrong = r.recover()
	})
	return wrong
}

func (r *run) fail(format string, args ...any) {
	if r.wrong == nil {
		r.wrong = fmt.Errorf(format, args...)
	}
}

// letGo ends the calls that are held.
func (r *run) letGo() {
	for _, c := range r.held {
		if c != nil {
			c.end(returnsNil)
		}
	}
}

func (r *run) step(o op) {
	switch o.kind {
	case opCall:
		want := r.model.call(o.session, o.endings, o.idempotent, o.done)
		c := r.start(o.session, o.idempotent, o.done)
		for _, e := range o.endings {
			if c.over {
				break
			}
			c.end(e)
		}
		if !c.over {
			r.fail("its function has run more often than there are layers")
			c.cancel(errGone)
			return
		}
		r.compare(c, want)
	case opBegin:
		if r.held[o.slot] != nil {
			return
		}
		asked := r.model.begin(o.session, nil, "", false)
		c := r.start(o.session, false, false)
		if c.over != asked.finished {
			if !c.over {
				r.held[o.slot] = c
			}
			r.fail("over: %v (layer %q, %v), want %v (%+v)", c.over, c.served.Layer, c.err, asked.finished, asked.outcome)
			return
		}
		if c.over {
			r.compare(c, asked.outcome)
			return
		}
		r.held[o.slot], r.asked[o.slot] = c, asked
	case opFinish:
		if r.held[o.slot] == nil {
			return
		}
		c, asked := r.held[o.slot], r.asked[o.slot]
		r.held[o.slot] = nil
		c.end(o.endings[0])
		r.model.finish(asked, o.endings[0])
		r.compare(c, asked.outcome)
	case opEndSession:
		r.model.endSession(o.session)
		r.chain.EndSession(pool.SessionID(o.session))
	case opAnswer:
		r.model.answers[o.layer] = o.answer
		r.layers[o.layer].mu.Lock()
		r.layers[o.layer].answer = o.answer
		r.layers[o.layer].mu.Unlock()
	case opWait:
		r.model.now += time.Duration(o.ticks) * tick
		time.Sleep(time.Duration(o.ticks) * tick)
	}
	r.model.settle()
	r.compareState()
}

// start begins a call, and returns when that is over, or its function runs. A call that
// an answer holds is cancelled.
func (r *run) start(id string, idempotent, done bool) *running {
	ctx, cancel := context.WithCancelCause(context.Background())
	if done {
		cancel(errGone)
	}
	c := &running{cancel: cancel, ending: make(chan ending)}
	do := r.chain.Do
	if idempotent {
		do = r.chain.DoIdempotent
	}
	go func() {
		c.how = "goexit"
		defer func() {
			if recover() != nil {
				c.how = "panic"
			}
			c.over = true
			cancel(nil)
		}()
		c.served, c.err = do(ctx, pool.SessionID(id), func(_ context.Context, w worker) error {
			c.ran += w.layer + " "
			c.inside = true
			e := <-c.ending
			c.inside = false
			switch e {
			case panics:
				panic("as planned")
			case exits:
				runtime.Goexit()
			case isCancelled:
				cancel(errGone)
				return errBroken
			case returnsBroken:
				return fmt.Errorf("call: %w", errBroken)
			case returnsError:
				return errApp
			}
			return nil
		})
		c.how = ""
	}()
	c.await()
	return c
}

// await waits until the call is over or its function runs.
func (c *running) await() {
	synctest.Wait()
	if !c.over && !c.inside {
		c.cancel(errGone)
		synctest.Wait()
	}
}

// end ends the call's function.
func (c *running) end(how ending) {
	c.ending <- how
	c.await()
}

// classOf puts an error into the model's words.
func classOf(c *running) string {
	switch {
	case c.how != "":
		return c.how
	case c.err == nil:
		return ""
	}
	after := ""
	if errors.Is(c.err, errBroken) {
		after = " after broken"
	}
	switch {
	case errors.Is(c.err, fallback.ErrExhausted):
		return "exhausted" + after
	case errors.Is(c.err, fallback.ErrSessionHeld):
		return "held" + after
	case errors.Is(c.err, pool.ErrSessionLost):
		return "lost" + after
	case errors.Is(c.err, pool.ErrSessionLimit):
		return "limited" + after
	case errors.Is(c.err, errOdd):
		return "odd" + after
	case errors.Is(c.err, errGone):
		return "cancelled" + after
	case errors.Is(c.err, errBroken):
		return "broken"
	case errors.Is(c.err, errApp):
		return "error"
	}
	return c.err.Error()
}

func (r *run) compare(c *running, want result) {
	got := result{layer: c.served.Layer, from: c.served.From, class: classOf(c), ran: c.ran}
	for _, p := range c.served.Passed {
		got.passed += p.String() + "; "
		if !reasonFits(p) {
			r.fail("passed over because %v with the error %v", p, p.Err)
		}
		if errors.Is(c.err, fallback.ErrExhausted) && !errors.Is(c.err, p.Err) {
			r.fail("the error %v does not wrap %v, the cause of %v", c.err, p.Err, p)
		}
	}
	if c.how != "" { // then it returned nothing
		want.layer, want.from, want.passed = "", "", ""
	}
	if got != want {
		r.fail("got %+v, want %+v (error: %v)", got, want, c.err)
	}
	if c.served.Moved != (c.served.From != "") {
		r.fail("Moved is %v, From is %q", c.served.Moved, c.served.From)
	}
	var held *fallback.HeldError
	if errors.As(c.err, &held) && errors.Is(c.err, pool.ErrSessionLost) != (held.Passed.Reason == fallback.PoolClosed) {
		r.fail("the session is held as %v, and lost: %v", held.Passed, errors.Is(c.err, pool.ErrSessionLost))
	}
	for _, l := range r.layers {
		if l.name != c.served.Layer {
			continue
		}
		if !slices.ContainsFunc(l.leases, func(lease pool.Lease[worker]) bool {
			return lease.Token() == c.served.Token && lease.WorkerID() == c.served.Worker && lease.Fresh() == c.served.Fresh
		}) {
			r.fail("served by worker %d, token %d, fresh %v, which the layer did not grant", c.served.Worker, c.served.Token, c.served.Fresh)
		}
	}
}

func reasonFits(p fallback.Passed) bool {
	var start *pool.StartError
	switch p.Reason {
	case fallback.BreakerOpen:
		return errors.Is(p.Err, fallback.ErrBreakerOpen)
	case fallback.ProbesOut:
		return errors.Is(p.Err, fallback.ErrProbesOut)
	case fallback.PoolClosed:
		return errors.Is(p.Err, pool.ErrClosed)
	case fallback.Saturated:
		return errors.Is(p.Err, pool.ErrSaturated)
	case fallback.StartFailed:
		return errors.As(p.Err, &start)
	case fallback.AcquireTimeout:
		return errors.Is(p.Err, pool.ErrAcquireTimeout)
	case fallback.WorkerBroke:
		return errors.Is(p.Err, errBroken)
	}
	return false
}

func (r *run) compareState() {
	stat := r.chain.Stat()
	for i, b := range r.model.breakers {
		if stat.Layers[i].State != b.state {
			r.fail("layer %s is %v, want %v", r.layers[i].name, stat.Layers[i].State, b.state)
		}
		if !slices.Equal(r.changes[i], b.changes) {
			r.fail("layer %s changed %q, want %q", r.layers[i].name, r.changes[i], b.changes)
		}
		r.changes[i], b.changes = nil, nil
	}
	if stat.Sessions != len(r.model.sessions) {
		r.fail("%d sessions are known, want %d", stat.Sessions, len(r.model.sessions))
	}
	slices.Sort(r.told)
	slices.Sort(r.model.told)
	if !slices.Equal(r.told, r.model.told) {
		r.fail("told the ends of %q, want %q", r.told, r.model.told)
	}
	r.told, r.model.told = nil, nil
}

// recover heals every layer: traffic must return to the first, and nothing must be left.
// Of the model it uses nothing.
func (r *run) recover() error {
	r.letGo()
	r.held = [slots]*running{}
	longest := 0
	for i, l := range r.layers {
		l.mu.Lock()
		l.answer = grants
		l.mu.Unlock()
		b := r.model.breakers[i]
		time.Sleep(b.OpenFor + b.ProbeTimeout)
		longest = max(longest, b.Probes)
	}
	for range longest {
		c := r.start("", false, false)
		if !c.over {
			c.end(returnsNil)
		}
	}
	c := r.start("v", false, false)
	if !c.over {
		c.end(returnsNil)
	}
	for _, id := range []pool.SessionID{"s", "t", "u", "v"} {
		r.chain.EndSession(id)
	}
	stat := r.chain.Stat()
	limited := errors.Is(c.err, pool.ErrSessionLimit)
	if !limited && (c.err != nil || c.served.Layer != r.layers[0].name) || stat.Layers[0].State != fallback.Closed || stat.Sessions != 0 {
		return fmt.Errorf("after healing: served by %q (%v), %+v; want layer %s, closed, and no session", c.served.Layer, c.err, stat, r.layers[0].name)
	}
	return r.wrong
}
