package props

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// Env is the factory of a target's resources. It does what the plan of the run says
// (hooks are slow, gated, fail or panic) and keeps books of its own: what it reports is
// what pools are judged by. All methods may be called concurrently.
type Env struct {
	start time.Time

	mu        sync.Mutex
	events    []model.PromiseEvent  // guarded by mu; since the last drain
	logged    int                   // guarded by mu; events ever
	resources []*Resource           // guarded by mu; by ID - 1
	next      [genHooks][]genPlan   // guarded by mu; what the next hooks will do
	gates     []*genGate            // guarded by mu; the hooks waiting to be let go on, oldest first
	prompt    bool                  // guarded by mu; hooks succeed at once, whatever the plan says
	acquiring int                   // guarded by mu; acquires under way
	forced    bool                  // guarded by mu; leases have been revoked
	closing   bool                  // guarded by mu; a close has been called
	sound     bool                  // the end of a context makes no Create fail
	churns    []int                 // guarded by mu; clients whose churns have ended
	tasks     int                   // guarded by mu; resources that were tasks
	hookless  bool                  // guarded by mu; tasks are the resources: nothing calls hooks
	restless  int                   // guarded by mu; hooks called since the last line of the script
	dead      bool                  // guarded by mu; hooks block for ever
	history   *genHistory           // guarded by mu; nil: nothing is recorded
	random    func(genHook) genPlan // guarded by mu; what hooks do of which nothing is said; nil: they succeed
}

// Resource is one resource, as made by Env.Create. All methods may be called concurrently.
type Resource struct {
	id  uint64
	env *Env

	destroyed bool // guarded by env.mu; Destroy has begun
	held      bool // guarded by env.mu; a client has it
	value     any  // guarded by env.mu

	mark int          // of Race; written by the holder alone
	word atomic.Int64 // of Race; the acquire that holds it, 0: none
}

type genHook uint8

const (
	genCreate genHook = iota
	genDestroy
	genCheck
	genHooks
)

func (h genHook) String() string { return [...]string{"create", "destroy", "check"}[h] }

// goesOn labels the point after a hook has waited.
func (h genHook) goesOn() string {
	return [...]string{"create goes on", "destroy goes on", "check goes on"}[h]
}

// genPlan is what one hook will do.
type genPlan struct {
	how  genHow
	slow time.Duration // of genSlow, and of what genFail does before it fails
}

type genHow uint8

const (
	genPrompt  genHow = iota // succeeds at once
	genFail                  // returns ErrInjected
	genPanics                // panics
	genSlow                  // succeeds after a while
	genGated                 // waits to be let go on, whatever its context
	genGateCtx               // waits to be let go on, or for its context
	genNever                 // never ends
)

func (h genHow) String() string {
	return [...]string{"ok", "fail", "panic", "slow", "gate", "gate-ctx", "never"}[h]
}

// genGate is a hook that waits to be told how to end.
type genGate struct {
	hook     genHook
	resource uint64
	open     chan genHow
}

func newGenEnv() *Env { return &Env{start: time.Now()} }

// logLocked appends an event, stamped.
func (e *Env) logLocked(ev model.PromiseEvent) {
	ev.At = time.Since(e.start)
	e.events = append(e.events, ev)
	e.logged++
}

func (e *Env) log(ev model.PromiseEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.logLocked(ev)
}

// drain returns the events since the last drain.
func (e *Env) drain() []model.PromiseEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	evs := e.events
	e.events = nil
	return evs
}

func (e *Env) seen() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.logged
}

// Create makes a resource. It may be slow, wait until the run lets it go on (whether or
// not ctx ends), fail with an error that wraps ErrInjected, or panic with one, as the plan
// says; with a context that has ended it may fail with the context's cause. A resource
// that it returns must be passed to Destroy once, in the end.
func (e *Env) Create(ctx context.Context) (*Resource, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	e.mu.Lock()
	r := &Resource{env: e, id: uint64(len(e.resources)) + 1}
	e.resources = append(e.resources, r)
	e.logLocked(model.PromiseEvent{Kind: model.PromiseCreateBegan, Resource: r.id})
	plan, gate := e.planLocked(genCreate, r.id)
	e.mu.Unlock()

	how, err := e.perform(ctx, genCreate, plan, gate)
	if err == nil && ctx.Err() != nil && plan.how == genPrompt && !e.sound {
		err = context.Cause(ctx)
	}
	if how == genFail {
		err = fmt.Errorf("create %d: %w", r.id, ErrInjected)
	}
	e.log(model.PromiseEvent{
		Kind: model.PromiseCreateEnded, Resource: r.id, Failed: err != nil || how == genPanics, Text: genErrText(err),
	})
	if how == genPanics {
		panic(fmt.Errorf("create %d panics: %w", r.id, ErrInjected))
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Destroy ends r. It may be slow, wait until the run lets it go on, or panic.
func (e *Env) Destroy(r *Resource) {
	id := uint64(0)
	if r != nil {
		id = r.id
	}
	e.mu.Lock()
	if r != nil {
		r.destroyed = true
	}
	e.logLocked(model.PromiseEvent{Kind: model.PromiseDestroyBegan, Resource: id})
	plan, gate := e.planLocked(genDestroy, id)
	e.mu.Unlock()
	how, _ := e.perform(context.Background(), genDestroy, plan, gate)
	e.log(model.PromiseEvent{Kind: model.PromiseDestroyEnded, Resource: id, Failed: how == genPanics})
	if how == genPanics {
		panic(fmt.Errorf("destroy %d panics: %w", id, ErrInjected))
	}
}

// Check says whether r is healthy. It may be slow, wait until the run lets it go on, fail
// with an error that wraps ErrInjected, or panic with one.
func (e *Env) Check(r *Resource) error {
	id := uint64(0)
	if r != nil {
		id = r.id
	}
	e.mu.Lock()
	e.logLocked(model.PromiseEvent{Kind: model.PromiseCheckBegan, Resource: id})
	plan, gate := e.planLocked(genCheck, id)
	e.mu.Unlock()
	how, _ := e.perform(context.Background(), genCheck, plan, gate)
	e.log(model.PromiseEvent{Kind: model.PromiseCheckEnded, Resource: id, Failed: how == genFail || how == genPanics})
	switch how {
	case genPanics:
		panic(fmt.Errorf("check %d panics: %w", id, ErrInjected))
	case genFail:
		return fmt.Errorf("check %d: %w", id, ErrInjected)
	}
	return nil
}

// Report notes an error that the pool had no other way to tell, such as one from Release
// or one that a panic handler got. It is a finding, unless it comes from an injected
// failure (it wraps ErrInjected or quotes it) or the pool is closing.
func (e *Env) Report(err error) {
	if err == nil || errors.Is(err, ErrInjected) || strings.Contains(err.Error(), ErrInjected.Error()) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closing {
		e.logLocked(model.PromiseEvent{Kind: model.PromiseMisuse, Text: "reported: " + err.Error()})
	}
}

// genRestless is how many hooks a pool may call after one line of a script without time
// passing: more are a loop that never ends.
const genRestless = 5000

// planLocked takes the next plan for that hook; a gate if it says so.
func (e *Env) planLocked(h genHook, id uint64) (genPlan, *genGate) {
	if e.random != nil && !e.prompt {
		return e.random(h), nil
	}
	if e.restless++; e.restless == genRestless {
		e.dead = true
		e.logLocked(model.PromiseEvent{
			Kind: model.PromiseMisuse, Failed: true, Text: "the pool calls hooks for ever and does not come to rest",
		})
	}
	if e.dead {
		return genPlan{how: genNever}, nil
	}
	if e.prompt || len(e.next[h]) == 0 {
		return genPlan{}, nil
	}
	plan := e.next[h][0]
	e.next[h] = e.next[h][1:]
	if plan.how != genGated && plan.how != genGateCtx {
		return plan, nil
	}
	g := &genGate{hook: h, resource: id, open: make(chan genHow, 1)}
	e.gates = append(e.gates, g)
	return plan, g
}

// perform does what the plan says and returns how the hook ends: genPrompt, genFail or
// genPanics, or an error if its context ended it. Under a scheduler it stops at its
// beginning, which is its end too if nothing comes in between, and after what took time.
func (e *Env) perform(ctx context.Context, h genHook, plan genPlan, gate *genGate) (genHow, error) {
	if plan.how == genNever {
		select {} // before any point: a task that is made to end there would call the next hook
	}
	sched.Point(h.String())
	switch plan.how {
	case genGated:
		how := <-gate.open
		sched.Point(h.goesOn())
		return how, nil
	case genGateCtx:
		select {
		case how := <-gate.open:
			sched.Point(h.goesOn())
			return how, nil
		case <-ctx.Done():
			e.forget(gate)
			sched.Point(h.goesOn())
			return genPrompt, context.Cause(ctx)
		}
	case genFail:
		time.Sleep(plan.slow) // in scripts nothing
	case genSlow:
		time.Sleep(plan.slow)
		sched.Point(h.goesOn())
		return genPrompt, nil
	}
	return plan.how, nil
}

// forget drops a gate that nobody waits at.
func (e *Env) forget(gate *genGate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, g := range e.gates {
		if g == gate {
			e.gates = append(e.gates[:i:i], e.gates[i+1:]...)
			return
		}
	}
}

// plan adds to what the next hooks of that kind will do.
func (e *Env) plan(h genHook, p genPlan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next[h] = append(e.next[h], p)
}

// gated lists the hooks that wait, oldest first.
func (e *Env) gated() []*genGate {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.gates
}

// letGo lets the i-th waiting hook go on, to end as how says. Nothing is done if fewer wait
// now than when i was drawn: hooks whose contexts have ended go on by themselves.
func (e *Env) letGo(i int, how genHow) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i >= len(e.gates) {
		return
	}
	g := e.gates[i]
	e.gates = append(e.gates[:i:i], e.gates[i+1:]...)
	g.open <- how // has room: a gate is opened once
}

// silence makes hooks succeed at once for as long as it is on.
func (e *Env) silence(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prompt = on
}

// kill makes all further hooks block for ever: a run is given up that may still be busy.
func (e *Env) kill() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead = true
}

// hasNoHooks reports whether nothing calls the hooks, so that there is nothing to steer.
func (e *Env) hasNoHooks() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hookless && len(e.resources) == e.tasks
}

// rested forgets the hooks called so far.
func (e *Env) rested() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.restless = 0
}

// heal drops all plans.
func (e *Env) heal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next = [genHooks][]genPlan{}
}

// ID returns the resource's number: 1, 2 and so on in the order of creation.
func (r *Resource) ID() uint64 { return r.id }

// Use says that the resource is being used. Use of one that has been destroyed, or that
// nobody can hold, is a finding, and an error is returned.
func (r *Resource) Use() error {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	e := r.env
	what := ""
	switch {
	case e.forced:
		return nil
	case r.destroyed:
		what = "used after its destruction had begun"
	case !r.held && e.acquiring == 0:
		what = "used while nobody holds it"
	default:
		return nil
	}
	e.logLocked(model.PromiseEvent{Kind: model.PromiseMisuse, Resource: r.id, Text: what})
	return fmt.Errorf("resource %d %s", r.id, what)
}

// Bind attaches what stands behind the resource, such as a net.Conn or a process. If it
// has a method Gone() bool, that must be true once the resource has been destroyed.
func (r *Resource) Bind(v any) {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	r.value = v
}

// Value returns what Bind attached, or nil.
func (r *Resource) Value() any {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	return r.value
}

func genErrText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// planned reports whether it has been said what a later hook will do.
func (e *Env) planned() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, plans := range e.next {
		if len(plans) > 0 {
			return true
		}
	}
	return false
}
