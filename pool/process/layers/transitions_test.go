package layers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
	"github.com/poolproof/poolproof/pool/pooltest"
	"github.com/poolproof/poolproof/pool/process"
)

// chain is a fallback.Chain, or one that is broken on purpose.
type chain interface {
	Do(ctx context.Context, id pool.SessionID, f func(context.Context, member) error) (fallback.Served, error)
	EndSession(id pool.SessionID)
}

// trial has clients call a chain of process, wire and memory without pause, while its
// layers go down and come back.
type trial struct {
	t     *testing.T
	calls int // that each phase must have seen served
	fault flaw

	process, wire, memory opened
	real                  *fallback.Chain[member]
	chain                 chain
	book                  *book
	clients               []*visitor
}

const (
	onProcess = "process"
	onWire    = "wire"
	onMemory  = "memory"
)

// The phases in which a chain must do something.
const (
	noProcessAnyMore = "no process starts any more"
	backAgain        = "processes start again"
	sessionsHome     = "every session comes home"
)

// flaw is what the clients' chain has on purpose.
type flaw struct {
	chain func(*trial) chain // nil: it has none
	rule  string             // that it breaks, if it breaks one
	stuck string             // the phase that it does not get through, if there is one
}

// newTrial opens the pools and the chain.
func newTrial(t *testing.T, calls int, f flaw) *trial {
	t.Helper()
	pooltest.CheckLeaks(t)
	tr := &trial{t: t, calls: calls, fault: f, book: newBook()}
	backoff := pool.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond}
	tr.process = tr.open(goProcess(t), opening{pool: pool.Config[member]{MinSize: 2, MaxSize: 2, StartBackoff: backoff}})
	tr.wire = tr.open(wire(), opening{pool: pool.Config[member]{MaxSize: 2, MaxWaiters: 4, StartBackoff: backoff}})
	tr.memory = tr.open(memory(noFault), opening{pool: pool.Config[member]{MaxSize: 4}})
	tr.real = tr.newChain(
		fallback.Layer[member]{Name: onProcess, Pool: tr.process},
		fallback.Layer[member]{Name: onWire, Pool: tr.wire},
		fallback.Layer[member]{Name: onMemory, Pool: tr.memory},
	)
	tr.chain = tr.real
	if f.chain != nil {
		tr.chain = f.chain(tr)
	}
	for i := range 8 {
		tr.clients = append(tr.clients, &visitor{tr: tr, name: fmt.Sprint("client-", i), sessions: i%4 != 0})
	}
	return tr
}

func (tr *trial) open(l layer, o opening) opened {
	o.t = tr.t
	p, err := l.open(o)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			tr.t.Errorf("%s: Shutdown: %v", l.name, err)
		}
	})
	return p
}

func (tr *trial) newChain(layers ...fallback.Layer[member]) *fallback.Chain[member] {
	for i := range layers {
		layers[i].Breaker = fallback.Breaker{FailuresInRow: 3, OpenFor: 20 * time.Millisecond}
	}
	c, err := fallback.New(fallback.Config[member]{
		Layers: layers,
		Broken: func(err error) bool { return errors.Is(err, process.ErrBroken) },
	})
	if err != nil {
		tr.t.Fatal(err)
	}
	return c
}

// run goes through the phases under load. What it returns is what did not come about.
func (tr *trial) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, c := range tr.clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				c.visit()
			}
			c.leave()
		})
	}
	defer func() {
		cancel()
		wg.Wait()
	}()
	saturated := func() {}
	defer func() { saturated() }()
	for _, phase := range []struct {
		name  string
		begin func() error
		on    string // where calls must be served in it
		only  bool   // and nowhere else
	}{
		{"all is well", func() error { return nil }, onProcess, true},
		{noProcessAnyMore, tr.killProcesses, onWire, false},
		{"the wire is saturated, too", func() (err error) { saturated, err = tr.saturate(); return err }, onMemory, false},
		{"the wire is free again", func() error { saturated(); saturated = func() {}; return nil }, onWire, false},
		{backAgain, func() error { tr.process.setHealth(true); return nil }, onProcess, false},
		{sessionsHome, tr.home, onProcess, false},
		{"all is well again", func() error { return nil }, onProcess, true},
	} {
		served := tr.book.phase(phase.name, phase.on, phase.only, tr.calls)
		if err := phase.begin(); err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		if err := tr.await(phase.name, served); err != nil {
			return err
		}
	}
	return nil
}

// await polls until a claim holds; most claims here are about many calls together. It does
// not wait long for what a flaw prevents, or once a flaw has been noticed.
func (tr *trial) await(what string, holds func() bool) error {
	limit := patience
	if what == tr.fault.stuck {
		limit = time.Second
	}
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(time.Millisecond) {
		if tr.fault.rule != "" && tr.book.broken(tr.fault.rule) {
			return fmt.Errorf("%s: it is noticed that %s is broken", what, tr.fault.rule)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not so after %v; served in this phase: %v", what, limit, tr.book.last().served)
		}
	}
	return nil
}

// killProcesses makes starts fail and kills every process.
func (tr *trial) killProcesses() error {
	tr.process.setHealth(false)
	return tr.await("every process is gone", func() bool {
		for _, m := range tr.book.takeMembers() {
			m.kill()
		}
		return tr.process.Stat().Live() == 0
	})
}

// saturate holds all workers of the wire, and fills its queue. It returns what undoes that.
func (tr *trial) saturate() (undo func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	undo = func() {
		cancel()
		wg.Wait()
	}
	for range 2 + 4 {
		wg.Go(func() {
			for ctx.Err() == nil { // others may be before us in the queue, and fill it
				if l, err := tr.wire.Acquire(ctx); err == nil {
					<-ctx.Done()
					l.Release()
				}
			}
		})
	}
	err = tr.await("the wire is saturated", func() bool {
		return errors.Is(tr.book.lastRefusal(onWire), pool.ErrSaturated)
	})
	return undo, err
}

// home waits until every client has its session on the first layer.
func (tr *trial) home() error {
	return tr.await(sessionsHome, func() bool {
		for _, c := range tr.clients {
			if c.at() != onProcess {
				return false
			}
		}
		return true
	})
}

// finish judges what is left when no client calls any more.
func (tr *trial) finish() {
	if s := tr.real.Stat(); s.Sessions != 0 {
		tr.book.object(ruleRest, "the chain has %d sessions", s.Sessions)
	}
	for name, p := range map[string]opened{onProcess: tr.process, onWire: tr.wire, onMemory: tr.memory} {
		if s := p.Stat(); s.Leased != 0 || s.Waiting != 0 || s.Sessions != 0 {
			tr.book.object(ruleRest, "%s: %d leases, %d waiters, %d sessions", name, s.Leased, s.Waiting, s.Sessions)
		}
	}
}

func TestTransitionsDownAndBack(t *testing.T) {
	tr := newTrial(t, 200, flaw{})
	if err := tr.run(t.Context()); err != nil {
		t.Error(err)
	}
	tr.finish()
	for _, p := range tr.book.phases {
		t.Logf("%s: served by %v, refused %v", p.name, p.served, p.refused)
	}
	if text := tr.book.summary(); text != "" {
		t.Error(text)
	}
	if !tr.book.met(process.ErrBroken) && !tr.book.met(fallback.ErrSessionHeld) && !tr.book.met(pool.ErrSessionLost) {
		t.Error("no session was refused, so none was put to the test")
	}
}

// The trial objects to chains that go wrong in the ways that matter.
func TestTransitionsObject(t *testing.T) {
	for name, f := range map[string]flaw{
		"never returns": {chain: func(tr *trial) chain { return &oneWay{trial: tr} }, stuck: backAgain},
		"never moves": {chain: func(tr *trial) chain {
			return tr.newChain(fallback.Layer[member]{Name: onProcess, Pool: tr.process})
		}, stuck: noProcessAnyMore},
		"moves in silence":    {chain: func(tr *trial) chain { return &silent{tr.real} }, rule: ruleSession},
		"runs a call twice":   {chain: func(tr *trial) chain { return &twice{tr.real} }, rule: ruleOnce},
		"drops some calls":    {chain: func(tr *trial) chain { return &dropping{Chain: tr.real} }, rule: ruleOnce},
		"names another layer": {chain: func(tr *trial) chain { return &misnaming{tr.real} }, rule: ruleLayer},
		"leaves sessions":     {chain: func(tr *trial) chain { return &forgetful{tr.real} }, rule: ruleRest, stuck: sessionsHome},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, 30, f)
			err := tr.run(t.Context())
			tr.finish()
			if f.stuck != "" && (err == nil || !strings.Contains(err.Error(), f.stuck)) {
				t.Errorf("got %v, want it stuck when %s", err, f.stuck)
			}
			if f.rule != "" && !tr.book.broken(f.rule) {
				t.Errorf("not noticed: %s; but this was: %v %s", f.rule, err, tr.book.summary())
			}
		})
	}
}
