// Package worker is the worker's side of docs/protocol.md, for workers written in Go. A
// program becomes a worker process by calling Main, which a test binary can do when it is
// executed again; Serve answers on any channel, such as one end of a net.Pipe.
//
//	func main() {
//		worker.Main(map[string]worker.Method{
//			"add": worker.Func(func(_ context.Context, terms []int) (int, error) {
//				return terms[0] + terms[1], nil
//			}),
//		})
//	}
//
// RawFunc makes methods that take and give raw bytes, StreamFunc those that answer in
// pieces. With the context of a call any method can look at its Payload, tell the caller
// of its Progress, and log through a LogHandler.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"github.com/poolproof/poolproof/pool/process"
)

// Method answers calls, one at a time. params is nil if the call had none; it is the
// method's to keep. ctx ends when the host closes the channel or the worker is to stop,
// and with ErrCancelled when the host cancels the call. A *process.RemoteError is sent as
// it is; any other error, and a panic, become an error reply with code
// process.CodeFailed, after which the worker goes on. A result of type Answer may carry a
// payload.
//
// The method named process.MethodSessionEnded, if there is one, is told that a session is
// over.
type Method func(ctx context.Context, params json.RawMessage) (result any, err error)

// Answer is a result with a payload beside it.
type Answer struct {
	Result any
	// Payload is sent as raw bytes, and may be changed once Serve has sent it: before
	// the next call of a method. Nil: none.
	Payload []byte
}

// ErrCancelled is the cause with which a call's context ends when the host cancels it. A
// method that returns it, or context.Canceled, then answers with process.CodeCancelled.
var ErrCancelled = errors.New("worker: call cancelled")

// Func makes a Method of a function with typed params and result. Params that do not
// decode are refused with process.CodeInvalidParams.
func Func[P, R any](f func(ctx context.Context, params P) (R, error)) Method {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		params, err := decode[P](raw)
		if err != nil {
			return nil, err
		}
		return f(ctx, params)
	}
}

func decode[P any](raw json.RawMessage) (params P, err error) {
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &params); err != nil {
			return params, &process.RemoteError{Code: process.CodeInvalidParams, Message: err.Error()}
		}
	}
	return params, nil
}

// RawFunc makes a Method of a function from payload to payload. The payload that it gets
// is its own until it returns, and may be returned. A call without a payload is refused
// with process.CodeInvalidParams.
func RawFunc(f func(ctx context.Context, payload []byte) ([]byte, error)) Method {
	return func(ctx context.Context, _ json.RawMessage) (any, error) {
		payload, ok := Payload(ctx)
		if !ok {
			return nil, &process.RemoteError{Code: process.CodeInvalidParams, Message: "want a payload"}
		}
		result, err := f(ctx, payload)
		if err != nil {
			return nil, err
		}
		if result == nil {
			result = []byte{}
		}
		return Answer{Payload: result}, nil
	}
}

// Option adjusts Serve and Main.
type Option func(*server)

// Cancellable announces that these methods end soon when their context does, so that the
// host can cancel a call of them without losing the worker. Streams can always be
// cancelled.
func Cancellable(methods ...string) Option {
	return func(s *server) { s.cancellable = append(s.cancellable, methods...) }
}

// Serve answers the calls that come over channel until the host closes it or ctx ends,
// then closes it. It returns nil after an end of file between frames, ctx's cause, or why
// the channel failed. It blocks until the running method returns. Methods run on Serve's
// goroutine, so one map may serve several channels only if its methods allow that.
func Serve(ctx context.Context, channel io.ReadWriteCloser, methods map[string]Method, options ...Option) error {
	s := newServer(channel, methods)
	for _, option := range options {
		option(s)
	}
	if err := s.check(); err != nil {
		channel.Close()
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { channel.Close() }) // ends a read or a write under way
	s.reader.Go(func() { cancel(s.read(ctx)) })
	err := s.serve(ctx)
	cancel(err)
	stop()
	channel.Close()
	s.reader.Wait()
	s.unmap()
	if cause := context.Cause(ctx); cause != io.EOF {
		return cause
	}
	return nil
}

// check reports options that make no sense.
func (s *server) check() error {
	for _, name := range []string{process.MethodHello, process.MethodPing, ""} {
		if _, ok := s.methods[name]; ok {
			return fmt.Errorf("worker: method name %q is reserved", name)
		}
	}
	for _, name := range s.cancellable {
		if _, ok := s.methods[name]; !ok {
			return fmt.Errorf("worker: method %q is to be cancellable, but there is none", name)
		}
	}
	slices.Sort(s.cancellable)
	s.cancellable = slices.Compact(s.cancellable)
	return nil
}

// serve runs the methods that the reader says are called.
func (s *server) serve(ctx context.Context) error {
	for {
		select {
		case calls := <-s.calls:
			var err error
			if calls.batch {
				err = s.answerBatch(calls.all)
			} else {
				err = s.answer(calls.all[0])
			}
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// dispatch runs the method that a call asks for.
func (s *server) dispatch(c *call) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			data, _ := json.Marshal(map[string]string{"traceback": string(debug.Stack())})
			err = &process.RemoteError{Code: process.CodeFailed, Message: fmt.Sprintf("panic: %v", v), Data: data}
		}
	}()
	switch {
	case c.refused != nil:
		return nil, c.refused
	case c.method == process.MethodHello:
		return s.hello(c.hello), nil
	case !s.greeted:
		return nil, &process.RemoteError{Code: process.CodeNoHello, Message: c.method + " before hello"}
	case c.method == process.MethodPing:
		return process.Pong{Instance: s.instance}, nil
	}
	method, ok := s.methods[c.method]
	if !ok {
		return nil, &process.RemoteError{Code: process.CodeUnknownMethod, Message: "no method " + c.method}
	}
	result, err = method(c.ctx, c.params)
	if err != nil && errors.Is(context.Cause(c.ctx), ErrCancelled) &&
		(errors.Is(err, context.Canceled) || errors.Is(err, ErrCancelled)) {
		err = &process.RemoteError{Code: process.CodeCancelled, Message: err.Error()}
	}
	return result, err
}
