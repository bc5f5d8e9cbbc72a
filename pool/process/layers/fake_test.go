package layers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// errDied is the cause that a fake's end has.
var errDied = errors.New("fake died")

// fake is a worker in memory: the demo's methods and what process.Worker promises, as
// plainly as can be and without a line in common with it. It is what the other layers are
// held against. A fault makes it wrong in one way.
type fake struct {
	id     pool.WorkerID
	cfg    process.Config
	fault  fault
	exited func(cause error) // told of an end that is no stop

	turn    chan struct{} // holds a value unless a call is under way
	frozen  chan struct{} // closed when nothing more is to be answered
	gone    chan struct{} // closed when err is set
	running sync.WaitGroup

	mu  sync.Mutex
	err error // guarded by mu

	sessions map[string]map[string]json.RawMessage // the call's under way
	late     json.RawMessage                       // the same: a reply for the wrong caller
}

// newFakePool makes a pool of fakes. As long as ill says so they do not start.
func newFakePool(cfg process.Config, poolCfg pool.Config[member], f fault, ill func() bool) (*pool.Pool[member], error) {
	var p *pool.Pool[member]
	made := make(chan struct{})
	poolCfg.Start = func(_ context.Context, id pool.WorkerID) (member, error) {
		if ill() {
			return nil, errors.New("fake is ill")
		}
		w := &fake{
			id: id, cfg: cfg, fault: f, turn: make(chan struct{}, 1),
			frozen: make(chan struct{}), gone: make(chan struct{}), sessions: make(map[string]map[string]json.RawMessage),
		}
		w.turn <- struct{}{}
		w.exited = func(cause error) {
			<-made
			p.Retire(id, cause)
		}
		return w, nil
	}
	poolCfg.Stop = func(_ context.Context, w member, _ error) error {
		w.(*fake).end(process.ErrStopped)
		w.(*fake).running.Wait()
		return nil
	}
	poolCfg.Usable = func(w member) bool { return w.Usable() }
	check, ended := poolCfg.Check, poolCfg.SessionEnded
	poolCfg.Check = func(ctx context.Context, w member) error {
		if err := w.(*fake).ping(ctx); err != nil || check == nil {
			return err
		}
		return check(ctx, w)
	}
	poolCfg.SessionEnded = func(ctx context.Context, w member, id pool.SessionID) error {
		err := w.Call(ctx, process.MethodSessionEnded, process.SessionEndedParams{Session: string(id)}, nil)
		if err != nil || ended == nil {
			return err
		}
		return ended(ctx, w, id)
	}
	if f == strictMoves {
		poolCfg.Affinity = pool.Sticky
	}
	var err error
	if p, err = pool.New(poolCfg); err == nil {
		close(made)
	}
	return p, err
}

func (f *fake) kill() {
	if f.end(errDied) {
		go f.exited(errDied)
	}
}

func (f *fake) freeze() { close(f.frozen) }

// end makes the worker unusable and reports whether it was not before.
func (f *fake) end(cause error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return false
	}
	f.err = &process.BrokenError{Worker: f.id, Cause: cause}
	close(f.gone)
	return true
}

func (f *fake) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *fake) Usable() bool { return f.failure() == nil || f.fault == deadIsUsable }

func (f *fake) ping(ctx context.Context) error {
	if f.fault == frozenIsWell {
		return nil
	}
	select {
	case <-f.frozen:
		<-ctx.Done()
		return context.Cause(ctx)
	default:
		return f.failure()
	}
}

func (f *fake) Call(ctx context.Context, method string, params, result any) error {
	return f.Exchange(ctx, &process.Request{Method: method, Params: params}, &process.Reply{Result: result})
}

func (f *fake) CallRaw(ctx context.Context, method string, payload, into []byte) ([]byte, error) {
	rep := process.Reply{Payload: into}
	err := f.Exchange(ctx, &process.Request{Method: method, Payload: payload}, &rep)
	return rep.Payload, err
}

func (f *fake) Exchange(ctx context.Context, req *process.Request, rep *process.Reply) error {
	c, err := f.begin(ctx, req, 0)
	if err != nil {
		return err
	}
	for {
		e, err := c.next(ctx)
		switch {
		case err != nil:
			return err
		case e.answer == nil:
			if req.Progress != nil && f.fault != progressIsLost {
				req.Progress(e.progress)
			}
			continue
		}
		f.turn <- struct{}{}
		if e.answer.err != nil {
			if f.fault == errorKills {
				f.end(errDied)
			}
			return e.answer.err
		}
		rep.HasPayload, rep.Payload = e.answer.payload != nil, append(rep.Payload[:0], e.answer.payload...)
		return decodeInto(e.answer.result, rep.Result)
	}
}

// Batch serves the calls one after the other.
func (f *fake) Batch(ctx context.Context, calls []*process.BatchCall) error {
	for _, call := range calls {
		call.Err = f.Call(ctx, call.Method, call.Params, call.Result)
		if errors.Is(call.Err, process.ErrBroken) {
			return call.Err
		}
	}
	if f.fault == batchIsShifted && len(calls) > 1 {
		calls[0].Err, calls[1].Err = calls[1].Err, calls[0].Err
	}
	return nil
}

func (f *fake) stream(ctx context.Context, req *process.Request) (flow, error) {
	window := req.Window
	if window == 0 {
		window = process.DefaultWindow
	}
	if f.fault == windowIsIgnored {
		window = 1000
	}
	c, err := f.begin(ctx, req, window)
	if err != nil {
		return nil, err
	}
	return &fakeFlow{c: c, ctx: ctx}, nil
}

func decodeInto(text json.RawMessage, into any) error {
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// encode returns the params as they would be sent.
func (f *fake) encode(req *process.Request) (json.RawMessage, error) {
	var text bytes.Buffer
	if req.Params != nil {
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(req.Params); err != nil {
			return nil, err
		}
	}
	const envelope = 64 // about what goes around them
	if size := envelope + text.Len() + len(req.Payload); f.cfg.FrameLimit > 0 && size > f.cfg.FrameLimit && f.fault != sizeIsIgnored {
		return nil, fmt.Errorf("%w: %d bytes", process.ErrFrameTooLarge, size)
	}
	return text.Bytes(), nil
}

// fakeCall is a call under way.
type fakeCall struct {
	f         *fake
	method    string
	params    json.RawMessage
	payload   []byte
	streams   bool
	events    chan fakeEvent // has room for a stream's window
	cancelled chan struct{}
	over      bool // the caller's: the answer has come, or never will
}

// fakeEvent is progress, a chunk or the answer.
type fakeEvent struct {
	progress, chunk json.RawMessage
	payload         []byte // of a chunk
	answer          *fakeAnswer
}

type fakeAnswer struct {
	result  json.RawMessage
	payload []byte
	err     error
}

// begin gives the worker a call once it has no other. A window makes it a stream.
func (f *fake) begin(ctx context.Context, req *process.Request, window int) (*fakeCall, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case <-f.turn:
	case <-f.gone:
		return nil, f.failure()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	params, err := f.encode(req)
	if err == nil {
		err = f.claim()
	}
	if err != nil {
		f.turn <- struct{}{}
		return nil, err
	}
	c := &fakeCall{
		f: f, method: req.Method, params: params, payload: bytes.Clone(req.Payload), streams: window > 0,
		events: make(chan fakeEvent, window), cancelled: make(chan struct{}),
	}
	if req.Payload != nil && c.payload == nil {
		c.payload = []byte{}
	}
	go c.run()
	return c, nil
}

// claim has the worker's end wait for a call, unless that has come already.
func (f *fake) claim() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.running.Add(1)
	}
	return f.err
}

// next waits for an event. An error means that the call is over.
func (c *fakeCall) next(ctx context.Context) (fakeEvent, error) {
	if ctx.Err() != nil {
		return fakeEvent{}, c.abort(context.Cause(ctx))
	}
	select {
	case e := <-c.events: // what was sent before the end is still read
		return e, nil
	default:
	}
	select {
	case e := <-c.events:
		return e, nil
	case <-ctx.Done():
		return fakeEvent{}, c.abort(context.Cause(ctx))
	case <-c.f.gone:
		select {
		case e := <-c.events:
			return e, nil
		default:
			c.over = true
			return fakeEvent{}, c.f.failure()
		}
	}
}

// abort gives the call up because of cause. The worker is lost unless it ends the call soon.
func (c *fakeCall) abort(cause error) error {
	c.over = true
	if c.f.fault == cancelledIsKept {
		close(c.cancelled)
		c.f.turn <- struct{}{}
		return cause
	}
	if !c.streams && c.method != "nap" || c.f.fault == cancelKills {
		c.f.end(cause)
		return c.f.failure()
	}
	close(c.cancelled)
	grace := time.NewTimer(process.DefaultCancelGrace)
	defer grace.Stop()
	for {
		select {
		case e := <-c.events:
			if e.answer != nil {
				if c.f.fault == lateReply {
					c.f.late = json.RawMessage(`"late"`)
				}
				c.f.turn <- struct{}{}
				return cause
			}
		case <-grace.C:
			c.f.end(cause)
			return c.f.failure()
		case <-c.f.gone:
			return fmt.Errorf("%w: %w", c.f.failure(), cause)
		}
	}
}

// send gives the caller an event. It blocks until there is room.
func (c *fakeCall) send(e fakeEvent) error {
	if e.answer == nil {
		select {
		case <-c.cancelled:
			return &process.RemoteError{Code: process.CodeCancelled}
		default:
		}
	}
	cancelled := c.cancelled
	if e.answer != nil && c.f.fault != cancelledIsKept {
		cancelled = nil // the answer to a cancelled call is waited for
	}
	select {
	case c.events <- e:
		return nil
	case <-cancelled:
		return &process.RemoteError{Code: process.CodeCancelled}
	case <-c.f.gone:
		return errDied
	}
}

// run serves the call.
func (c *fakeCall) run() {
	defer c.f.running.Done()
	select {
	case <-c.f.frozen:
		<-c.f.gone
		return
	default:
	}
	a := c.serve()
	if late := c.f.late; late != nil {
		c.f.late, a.result = nil, late
	}
	if c.f.failure() == nil { // the dead do not answer
		_ = c.send(fakeEvent{answer: &a})
	}
}

// fakeFlow is a stream of a fake.
type fakeFlow struct {
	c      *fakeCall
	ctx    context.Context
	chunk  process.Chunk
	seq    uint64
	answer *fakeAnswer
	err    error
	broken error
}

func (s *fakeFlow) Next() bool {
	if s.c.over {
		return false
	}
	e, err := s.c.next(s.ctx)
	switch {
	case err != nil:
		s.end(err)
		return false
	case e.answer == nil:
		s.chunk = process.Chunk{Seq: s.seq, Value: e.chunk, Payload: e.payload}
		s.seq++
		return true
	}
	s.c.over, s.answer, s.err = true, e.answer, e.answer.err
	if s.c.f.fault == streamErrorIsLost {
		s.answer, s.err = &fakeAnswer{result: json.RawMessage("null")}, nil
	}
	s.c.f.turn <- struct{}{}
	return false
}

func (s *fakeFlow) end(err error) {
	s.err = err
	if errors.Is(err, process.ErrBroken) {
		s.broken = err
	}
}

func (s *fakeFlow) Chunk() process.Chunk {
	c := s.chunk
	c.Value, c.Payload = slices.Clone(c.Value), slices.Clone(c.Payload)
	return c
}

func (s *fakeFlow) Err() error { return s.err }

func (s *fakeFlow) Result(result any) error {
	switch {
	case s.err != nil:
		return s.err
	case s.answer == nil:
		return process.ErrStreamOpen
	}
	return decodeInto(s.answer.result, result)
}

func (s *fakeFlow) Close() error {
	if !s.c.over {
		s.end(s.c.abort(process.ErrStreamClosed))
		if s.broken == nil {
			s.err = nil
		}
	}
	return s.broken
}
