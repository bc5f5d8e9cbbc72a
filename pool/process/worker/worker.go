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
package worker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/poolproof/poolproof/pool/process"
)

// Method answers calls, one at a time. params is nil if the call had none; it is the
// method's to keep. ctx ends when the host closes the channel or the worker is to stop. A
// *process.RemoteError is sent as it is; any other error, and a panic, become an error
// reply with code process.CodeFailed, after which the worker goes on.
//
// The method named process.MethodSessionEnded, if there is one, is told that a session is
// over.
type Method func(ctx context.Context, params json.RawMessage) (result any, err error)

// Func makes a Method of a function with typed params and result. Params that do not
// decode are refused with process.CodeInvalidParams.
func Func[P, R any](f func(ctx context.Context, params P) (R, error)) Method {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var params P
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &params); err != nil {
				return nil, &process.RemoteError{Code: process.CodeInvalidParams, Message: err.Error()}
			}
		}
		return f(ctx, params)
	}
}

// request is a call on the wire.
type request struct {
	Version string          `json:"jsonrpc"`
	ID      uint64          `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// server is the state of one Serve.
type server struct {
	channel  io.ReadWriteCloser
	methods  map[string]Method
	instance string
	limit    int
	greeted  bool
	out      bytes.Buffer // the reply's frame
}

// Serve answers the calls that come over channel until the host closes it or ctx ends,
// then closes it. It returns nil after an end of file between frames, ctx's cause, or why
// the channel failed. It blocks until the running method returns. Methods run on Serve's
// goroutine, so one map may serve several channels only if its methods allow that.
func Serve(ctx context.Context, channel io.ReadWriteCloser, methods map[string]Method) error {
	for _, name := range []string{process.MethodHello, process.MethodPing, ""} {
		if _, ok := methods[name]; ok {
			channel.Close()
			return fmt.Errorf("worker: method name %q is reserved", name)
		}
	}
	var reader sync.WaitGroup
	defer reader.Wait()
	defer channel.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	context.AfterFunc(ctx, func() { channel.Close() }) // ends a read or a write under way

	s := &server{channel: channel, methods: methods, instance: rand.Text(), limit: process.DefaultFrameLimit}
	frames := process.NewFrameReader(channel, s.limit)
	bodies := make(chan []byte)
	parsed := make(chan struct{})
	reader.Go(func() {
		for {
			// Reading goes on while a method runs, to notice the host's end.
			body, err := frames.Next()
			if err != nil {
				cancel(err)
				return
			}
			select {
			case bodies <- body:
			case <-ctx.Done():
				return
			}
			<-parsed
		}
	})
	for {
		var body []byte
		select {
		case body = <-bodies:
		case <-ctx.Done():
			return endOf(ctx)
		}
		req, err := s.parse(body)
		frames.SetLimit(s.limit)
		parsed <- struct{}{}
		if err == nil {
			err = s.answer(ctx, req)
		}
		if err != nil {
			cancel(err)
			return endOf(ctx)
		}
	}
}

// endOf returns how a server's context ended, nil meaning in good order.
func endOf(ctx context.Context) error {
	if err := context.Cause(ctx); err != io.EOF {
		return err
	}
	return nil
}

// parse decodes a call. Hello's frame limit counts from the next frame on.
func (s *server) parse(body []byte) (request, error) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return req, fmt.Errorf("worker: malformed request: %w", err)
	}
	if req.Method == process.MethodHello {
		var hello process.HelloParams
		if err := json.Unmarshal(req.Params, &hello); err != nil || hello.FrameLimit <= 0 {
			return req, fmt.Errorf("worker: malformed hello: frame limit %d, %w", hello.FrameLimit, err)
		}
		s.limit = hello.FrameLimit
		s.greeted = true
	}
	return req, nil
}

// answer runs the method that req asks for and sends its result, or an error in its place.
func (s *server) answer(ctx context.Context, req request) error {
	result, err := s.dispatch(ctx, req)
	if err == nil {
		if err = s.encode(req.ID, "result", result); errors.Is(err, process.ErrFrameTooLarge) {
			err = &process.RemoteError{Code: process.CodeTooLarge, Message: err.Error()}
		} else if err != nil {
			err = &process.RemoteError{Code: process.CodeInternal, Message: err.Error()}
		}
	}
	if err != nil {
		var remote *process.RemoteError
		if !errors.As(err, &remote) {
			remote = &process.RemoteError{Code: process.CodeFailed, Message: err.Error()}
		}
		if err := s.encode(req.ID, "error", remote); err != nil {
			return fmt.Errorf("worker: error reply: %w", err)
		}
	}
	_, err = s.channel.Write(s.out.Bytes())
	return err
}

// encode makes a reply's frame in s.out.
func (s *server) encode(id uint64, key string, value any) error {
	s.out.Reset()
	s.out.Write(make([]byte, process.FrameHeaderBytes))
	fmt.Fprintf(&s.out, `{"jsonrpc":"2.0","id":%d,"%s":`, id, key)
	encoder := json.NewEncoder(&s.out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	s.out.WriteByte('}')
	return process.SealFrame(s.out.Bytes(), s.limit)
}

func (s *server) dispatch(ctx context.Context, req request) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			data, _ := json.Marshal(map[string]string{"traceback": string(debug.Stack())})
			err = &process.RemoteError{Code: process.CodeFailed, Message: fmt.Sprintf("panic: %v", v), Data: data}
		}
	}()
	switch {
	case req.Version != "2.0" || req.ID == 0 || req.Method == "":
		return nil, &process.RemoteError{Code: process.CodeInvalidRequest, Message: "not a request of JSON-RPC 2.0"}
	case req.Method == process.MethodHello:
		return process.Hello{
			Protocol: process.ProtocolVersion,
			PID:      os.Getpid(),
			Instance: s.instance,
			Methods:  slices.Sorted(maps.Keys(s.methods)),
		}, nil
	case !s.greeted:
		return nil, &process.RemoteError{Code: process.CodeNoHello, Message: req.Method + " before hello"}
	case req.Method == process.MethodPing:
		return process.Pong{Instance: s.instance}, nil
	}
	method, ok := s.methods[req.Method]
	if !ok {
		return nil, &process.RemoteError{Code: process.CodeUnknownMethod, Message: "no method " + req.Method}
	}
	return method(ctx, req.Params)
}
