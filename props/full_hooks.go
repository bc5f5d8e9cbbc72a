package props

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
)

// What hooks that are told to fail fail with.
var (
	errFullHook   = errors.New("props: injected failure of a hook")
	errFullCancel = errors.New("props: the caller gave up")
	errFullRetire = errors.New("props: reported dead")
	errFullForce  = errors.New("props: the shutdown's context ended")
	errFullBad    = errors.New("props: discarded")
)

// fullHow says how a hook ends: for the model the last three are the same.
type fullHow uint8

const (
	fullGood fullHow = iota
	fullError
	fullPanic
	fullGoexit
)

// fullUsable is the answer of Usable.
type fullUsable uint8

const (
	fullUsableYes fullUsable = iota
	fullUsableNo
	fullUsablePanic
)

// fullGate is a running hook that waits to be told how to end.
type fullGate struct {
	kind   model.EventKind // what its beginning was reported as
	worker model.Worker
	answer chan fullHow // capacity 1
}

// fullFactory makes the pool's workers, keeps its own books about them, and collects the
// events of a run. Hooks and clients report to it from their own goroutines.
type fullFactory struct {
	backend Backend

	mu     sync.Mutex // guards what follows
	events []model.Event
	gates  []*fullGate // running hooks, in the order in which they began
	open   bool        // hooks are not held: they succeed at once
	// loose, unless nil, decides how a hook ends instead of a gate; it may let time pass.
	loose  func(ctx context.Context, began model.Event) fullHow
	books  fullBooks
	inside int // hooks that have been called and have not returned
}

// enter counts a call of a hook; what it returns counts its return.
func (f *fullFactory) enter() (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inside++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.inside--
	}
}

// hold reports that a hook began, waits for its answer, and returns it. An end of ctx in
// the meantime is reported as ended, unless that is EvNone.
func (f *fullFactory) hold(ctx context.Context, began model.Event, ended model.EventKind) fullHow {
	f.mu.Lock()
	f.events = append(f.events, began)
	if f.open {
		f.mu.Unlock()
		return fullGood
	}
	if f.loose != nil {
		f.mu.Unlock()
		return f.loose(ctx, began)
	}
	g := &fullGate{kind: began.Kind, worker: began.Worker, answer: make(chan fullHow, 1)}
	f.gates = append(f.gates, g)
	f.mu.Unlock()
	if ended == model.EvNone {
		return <-g.answer
	}
	select {
	case how := <-g.answer:
		return how
	case <-ctx.Done():
		f.mu.Lock()
		if !f.open {
			f.events = append(f.events, model.Event{Kind: ended, Worker: began.Worker})
		}
		f.mu.Unlock()
		return <-g.answer
	}
}

// gate returns the running hook of a worker that began with one of the kinds, or nil.
func (f *fullFactory) gate(w model.Worker, kind model.EventKind) *fullGate {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, g := range f.gates {
		if g.worker == w && g.kind == kind {
			f.gates = append(f.gates[:i], f.gates[i+1:]...)
			return g
		}
	}
	return nil
}

// openAll lets every hook go on, and those to come succeed at once.
func (f *fullFactory) openAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = true
	for _, g := range f.gates {
		g.answer <- fullGood
	}
	f.gates = nil
}

// end makes the calling hook end as told; it returns only for fullGood and fullError.
func (how fullHow) end() error {
	switch how {
	case fullError:
		return errFullHook
	case fullPanic:
		panic(errFullHook)
	case fullGoexit:
		runtime.Goexit()
	}
	return nil
}

// start is pool.Config.Start.
func (f *fullFactory) start(ctx context.Context, id pool.WorkerID) (w *FullWorker, err error) {
	defer f.enter()()
	f.book(func(b *fullBooks) { b.startBegun(id) })
	started := false
	defer func() {
		f.book(func(b *fullBooks) { b.startEnded(id, started) })
	}()
	how := f.hold(ctx, model.Event{Kind: model.EvStartBegun, Worker: model.Worker(id)}, model.EvStartCancelled)
	if err := how.end(); err != nil {
		return nil, err
	}
	value, err := f.backend.Start(context.WithoutCancel(ctx), id)
	if err != nil {
		return nil, err
	}
	started = true
	w = &FullWorker{ID: id, Value: value}
	f.book(func(b *fullBooks) { b.account(id).worker = w })
	return w, nil
}

// kill makes a worker die, and reports whether the pool will hear of it.
func (f *fullFactory) kill(id pool.WorkerID) bool {
	f.mu.Lock()
	var w *FullWorker
	if a := f.books.account(id); a != nil && a.phase == fullAlive {
		w = a.worker
	}
	f.mu.Unlock()
	return w != nil && f.backend.Kill(w.Value)
}

// stop is pool.Config.Stop.
func (f *fullFactory) stop(ctx context.Context, w *FullWorker, _ error) error {
	defer f.enter()()
	if w == nil {
		f.book(func(b *fullBooks) { b.complain("I3: Stop of no worker") })
		return nil
	}
	f.book(func(b *fullBooks) { b.stopBegun(w.ID) })
	defer f.book(func(b *fullBooks) { b.stopEnded(w.ID) })
	how := f.hold(ctx, model.Event{Kind: model.EvStopBegun, Worker: model.Worker(w.ID)}, model.EvNone)
	if err := f.backend.Stop(context.WithoutCancel(ctx), w.Value); err != nil {
		return err
	}
	return how.end()
}

// check is pool.Config.Check.
func (f *fullFactory) check(ctx context.Context, w *FullWorker) error {
	defer f.enter()()
	f.book(func(b *fullBooks) { b.checkBegun(w.ID) })
	defer f.book(func(b *fullBooks) { b.checkEnded(w.ID) })
	how := f.hold(ctx, model.Event{Kind: model.EvCheckBegun, Worker: model.Worker(w.ID)}, model.EvCheckCancelled)
	if err := how.end(); err != nil {
		return err
	}
	return f.backend.Check(context.WithoutCancel(ctx), w.Value)
}

// sessionEnded is pool.Config.SessionEnded.
func (f *fullFactory) sessionEnded(ctx context.Context, w *FullWorker, id pool.SessionID) error {
	defer f.enter()()
	f.book(func(b *fullBooks) { b.checkBegun(w.ID) })
	defer f.book(func(b *fullBooks) { b.checkEnded(w.ID) })
	how := f.hold(ctx, model.Event{
		Kind: model.EvTellBegun, Worker: model.Worker(w.ID), Session: fullSessionNumber(id),
	}, model.EvTellCancelled)
	return how.end()
}

// usable is pool.Config.Usable.
func (f *fullFactory) usable(w *FullWorker) bool {
	switch w.usable {
	case fullUsablePanic:
		panic(errFullHook)
	case fullUsableNo:
		return false
	}
	return true
}

func (f *fullFactory) book(entry func(*fullBooks)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	entry(&f.books)
}

// fullSessionName and fullSessionNumber translate between the model's sessions and the pool's.
func fullSessionName(s model.Session) pool.SessionID {
	const names = "abcdefghijklmnopqrstuvwxyz"
	if s == 0 {
		return ""
	}
	return pool.SessionID(names[s-1 : s])
}

func fullSessionNumber(id pool.SessionID) model.Session {
	if len(id) != 1 {
		return 0
	}
	return model.Session(id[0] - 'a' + 1)
}

// fullBooks are the factory's own accounts of its workers. They know nothing of the model:
// what they find wrong is wrong for every pool.
type fullBooks struct {
	most    int // MaxSize now; the larger one while a Resize runs
	live    int // starts and workers that have not ended
	workers []fullAccount
	forced  bool         // leases may have been revoked
	tokens  []pool.Token // of the grants since the last rest
	last    pool.Token   // the highest before that
	faults  []string
}

// fullAccount is the account of one worker.
type fullAccount struct {
	phase    fullPhase
	worker   *FullWorker // once it has started
	checking int
	holder   model.Client // 0: nobody
}

type fullPhase uint8

const (
	fullStarting fullPhase = iota + 1
	fullAlive
	fullStopping
	fullGone
)

func (b *fullBooks) complain(format string, args ...any) {
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// account returns the account of a worker that has been started, or nil.
func (b *fullBooks) account(id pool.WorkerID) *fullAccount {
	if id == 0 || id > pool.WorkerID(len(b.workers)) {
		return nil
	}
	return &b.workers[id-1]
}

func (b *fullBooks) startBegun(id pool.WorkerID) {
	if b.live >= b.most {
		b.complain("I2: the start of worker %d begins while %d are live and MaxSize is %d", id, b.live, b.most)
	}
	for pool.WorkerID(len(b.workers)) < id {
		b.workers = append(b.workers, fullAccount{})
	}
	a := b.account(id)
	if a == nil || a.phase != 0 {
		b.complain("I3: WorkerID %d is used again", id)
		return
	}
	a.phase = fullStarting
	b.live++
}

func (b *fullBooks) startEnded(id pool.WorkerID, started bool) {
	a := b.account(id)
	if started {
		a.phase = fullAlive
		return
	}
	a.phase = fullGone
	b.live--
}

func (b *fullBooks) stopBegun(id pool.WorkerID) {
	a := b.account(id)
	if a.phase != fullAlive {
		b.complain("I3: worker %d is stopped a second time", id)
		return
	}
	if a.checking > 0 {
		b.complain("I12: worker %d is stopped while its check runs", id)
	}
	if a.holder != 0 && !b.forced {
		b.complain("I3: worker %d is stopped while client %d holds it", id, a.holder)
	}
	a.phase = fullStopping
}

func (b *fullBooks) stopEnded(id pool.WorkerID) {
	if a := b.account(id); a.phase == fullStopping {
		a.phase = fullGone
		b.live--
	}
}

func (b *fullBooks) checkBegun(id pool.WorkerID) {
	a := b.account(id)
	if a.phase != fullAlive {
		b.complain("I3: worker %d is checked or told after its stop began", id)
	}
	if a.holder != 0 {
		b.complain("I12: worker %d is checked or told while client %d holds it", id, a.holder)
	}
	if a.checking > 0 {
		b.complain("I12: worker %d is checked or told twice at once", id)
	}
	a.checking++
}

func (b *fullBooks) checkEnded(id pool.WorkerID) { b.account(id).checking-- }

func (b *fullBooks) granted(id pool.WorkerID, c model.Client) {
	a := b.account(id)
	switch {
	case a == nil || a.phase == fullStarting:
		b.complain("I3: worker %d is granted before its start returned", id)
		return
	case a.phase != fullAlive:
		b.complain("I3: worker %d is granted after its stop began", id)
		return
	case a.holder != 0:
		b.complain("I1: worker %d is granted to client %d while client %d holds it", id, c, a.holder)
		return
	}
	a.holder = c
}

func (b *fullBooks) released(id pool.WorkerID, c model.Client) {
	if a := b.account(id); a != nil && a.holder == c {
		a.holder = 0
	}
}

// rest judges the grants since the last rest: every token is new, and higher than all
// tokens granted before then.
func (b *fullBooks) rest() {
	top := b.last
	for i, token := range b.tokens {
		if token <= b.last || slices.Contains(b.tokens[:i], token) {
			b.complain("I1: token %d is granted after token %d", token, b.last)
		}
		top = max(top, token)
	}
	b.last, b.tokens = top, b.tokens[:0]
}

// left complains about what remains after the pool was closed.
func (b *fullBooks) left() {
	for i := range b.workers {
		if a := &b.workers[i]; a.phase != fullGone {
			b.complain("I3: the pool is closed and worker %d is still %v", i+1, a.phase)
		}
	}
}

// String names the phase.
func (p fullPhase) String() string {
	return [...]string{"unknown", "starting", "not stopped", "stopping", "gone"}[p]
}
