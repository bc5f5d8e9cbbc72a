package process_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// wireConfig returns a configuration whose workers are served by serve in memory.
func wireConfig(serve func(channel net.Conn)) process.Config {
	return process.Config{Dial: func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) {
		host, remote := net.Pipe()
		go serve(remote)
		return host, nil
	}}
}

func demoConfig() process.Config {
	return wireConfig(func(channel net.Conn) {
		worker.Serve(context.Background(), channel, worker.Demo(func(int) { channel.Close() }), worker.DemoOptions()...)
	})
}

// script is a worker that does exactly what a test says.
type script struct {
	net.Conn
	frames *process.FrameReader
	id     uint64 // of the last request; a notification has none

	method, params string // of the last message
	payload        []byte // nil: none
}

// scriptConfig returns workers that answer hello and then follow rest.
func scriptConfig(rest func(s *script)) process.Config { return featuredConfig("", rest) }

// silentConfig returns workers that read hello, do not answer it, and follow rest.
func silentConfig(rest func(s *script)) process.Config {
	return wireConfig(func(channel net.Conn) {
		defer channel.Close()
		s := &script{Conn: channel, frames: process.NewFrameReader(channel, 1<<20)}
		s.next()
		rest(s)
		io.Copy(io.Discard, channel)
	})
}

// featuredConfig is scriptConfig for workers whose hello has more members.
func featuredConfig(members string, rest func(s *script)) process.Config {
	return wireConfig(func(channel net.Conn) {
		defer channel.Close()
		s := &script{Conn: channel, frames: process.NewFrameReader(channel, 1<<20)}
		s.next()
		s.result(`{"protocol":1,"pid":1,"instance":"scripted","methods":[]` + members + `}`)
		rest(s)
		io.Copy(io.Discard, channel) // stays until the host closes
	})
}

// next reads a request and reports whether there was one.
func (s *script) next() bool {
	body, err := s.frames.Next()
	if err != nil {
		return false
	}
	text := body
	s.payload = nil
	if len(body) > 4 && body[0] == 0 {
		end := 4 + binary.BigEndian.Uint32(body) // its first byte is 0
		text, s.payload = body[4:end], body[end:]
	}
	var request struct {
		ID     uint64
		Method string
		Params json.RawMessage
	}
	if err := json.Unmarshal(text, &request); err != nil {
		panic(err)
	}
	s.method, s.params = request.Method, string(request.Params)
	if request.ID != 0 {
		s.id = request.ID
	}
	return true
}

// binary sends a message in the binary form.
func (s *script) binary(header, payload string) {
	s.frame(string(binary.BigEndian.AppendUint32(nil, uint32(len(header)))) + header + payload)
}

// note sends a notification.
func (s *script) note(method, params string) {
	s.frame(fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`, method, params))
}

func (s *script) result(result string) { s.reply(s.id, result) }

func (s *script) reply(id uint64, result string) {
	s.frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%s}`, id, result))
}

func (s *script) frame(body string) {
	s.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
}

// inBubble runs test with a started worker in virtual time and stops the worker after it.
func inBubble(t *testing.T, cfg process.Config, test func(t *testing.T, w *process.Worker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, err := process.Start(t.Context(), cfg, 1)
		if err != nil {
			t.Fatal(err)
		}
		test(t, w)
		if err := w.Stop(context.Background()); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if w.Usable() {
			t.Error("usable after Stop")
		}
		time.Sleep(time.Hour) // virtual: the other side comes to its end
	})
}

// checkBroken checks that a call failed because of want and left the worker unusable.
func checkBroken(t *testing.T, w *process.Worker, err, want error) {
	t.Helper()
	if !errors.Is(err, process.ErrBroken) || !errors.Is(err, want) {
		t.Errorf("got error %v, want ErrBroken because of %v", err, want)
	}
	if w.Usable() {
		t.Errorf("after %v: usable, want not", err)
	}
	var answer string
	if again := w.Call(context.Background(), "echo", "x", &answer); !errors.Is(again, process.ErrBroken) || answer != "" {
		t.Errorf("next call: got %q and error %v, want ErrBroken", answer, again)
	}
}

func TestWireAnswersCalls(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		if w.Instance() == "" || w.ID() != 1 || w.PID() == 0 || len(w.Methods()) == 0 {
			t.Errorf("worker %d, pid %d, instance %q, methods %v: want all of them", w.ID(), w.PID(), w.Instance(), w.Methods())
		}
		for _, value := range []string{`"plain"`, `{"a":[1,2,{"b":null}]}`, `"<&>\u2028"`, `12345678901234567890`} {
			var result json.RawMessage
			if err := w.Call(t.Context(), "echo", json.RawMessage(value), &result); err != nil {
				t.Fatal(err)
			}
			if string(result) != value {
				t.Errorf("echo of %s is %s", value, result)
			}
		}
		large := strings.Repeat("x", 2<<20)
		for _, want := range []string{large, "small", large} {
			var got string
			if err := w.Call(t.Context(), "echo", want, &got); err != nil || got != want {
				t.Errorf("echo of %d bytes: got %d, error %v", len(want), len(got), err)
			}
		}
		if err := w.Ping(t.Context()); err != nil {
			t.Errorf("Ping: %v", err)
		}
		if !w.Usable() {
			t.Error("not usable")
		}
	})
}

func TestSessionStateEndsWithTheSession(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) { checkSession(t, w) })
}

// checkSession checks that a demo worker keeps and forgets a session's state.
func checkSession(t *testing.T, w *process.Worker) {
	t.Helper()
	get := func() (value string) {
		t.Helper()
		if err := w.Call(t.Context(), "get", worker.Item{Session: "s", Key: "k"}, &value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	if err := w.Call(t.Context(), "put", worker.Item{Session: "s", Key: "k", Value: json.RawMessage(`"v"`)}, nil); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != "v" {
		t.Errorf("in the session: got %q, want v", got)
	}
	if err := w.EndSession(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != "" {
		t.Errorf("after the session: got %q, want nothing", got)
	}
}

func TestEndSessionIsSilentUnlessAnnounced(t *testing.T) {
	inBubble(t, scriptConfig(func(s *script) {
		if s.next() {
			panic("the host sent " + s.method)
		}
	}), func(t *testing.T, w *process.Worker) {
		if err := w.EndSession(t.Context(), "s"); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorReplyKeepsTheWorker(t *testing.T) {
	methods := map[string]worker.Method{
		"refuse": func(context.Context, json.RawMessage) (any, error) {
			return nil, &process.RemoteError{Code: 7, Message: "no", Data: json.RawMessage(`{"traceback":"here"}`)}
		},
		"fail":  func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("failed") },
		"chan":  func(context.Context, json.RawMessage) (any, error) { return make(chan int), nil },
		"int":   worker.Func(func(_ context.Context, n int) (int, error) { return n, nil }),
		"large": func(context.Context, json.RawMessage) (any, error) { return strings.Repeat("x", 2000), nil },
	}
	cfg := wireConfig(func(channel net.Conn) { worker.Serve(context.Background(), channel, methods) })
	cfg.FrameLimit = 1000
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		for _, test := range []struct {
			method, params string
			code           int
			traceback      string
		}{
			{"refuse", "null", 7, "here"},
			{"fail", "null", process.CodeFailed, ""},
			{"chan", "null", process.CodeInternal, ""},
			{"int", `"three"`, process.CodeInvalidParams, ""},
			{"absent", "null", process.CodeUnknownMethod, ""},
			{"large", "null", process.CodeTooLarge, ""},
		} {
			err := w.Call(t.Context(), test.method, json.RawMessage(test.params), nil)
			var remote *process.RemoteError
			if !errors.As(err, &remote) || remote.Code != test.code || remote.Traceback() != test.traceback {
				t.Errorf("%s: got %v, want code %d and traceback %q", test.method, err, test.code, test.traceback)
			}
			if errors.Is(err, process.ErrBroken) || !w.Usable() {
				t.Errorf("%s: worker unusable after the reply %v", test.method, err)
			}
		}
		var n int
		if err := w.Call(t.Context(), "int", 3, &n); err != nil || n != 3 {
			t.Errorf("afterwards: got %d, error %v; want 3", n, err)
		}
	})
}

func TestPanicInAMethodKeepsTheWorker(t *testing.T) {
	cfg := wireConfig(func(channel net.Conn) {
		worker.Serve(context.Background(), channel, map[string]worker.Method{
			"panic": func(context.Context, json.RawMessage) (any, error) { panic("at the disco") },
		})
	})
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		err := w.Call(t.Context(), "panic", nil, nil)
		var remote *process.RemoteError
		if !errors.As(err, &remote) || !strings.Contains(remote.Message, "at the disco") ||
			!strings.Contains(remote.Traceback(), "wire_test.go") || !w.Usable() {
			t.Errorf("got %v, usable %v; want an error reply with the panic and its stack", err, w.Usable())
		}
	})
}

func TestRefusedCallsLeaveTheWorkerUnchanged(t *testing.T) {
	cfg := demoConfig()
	cfg.FrameLimit = 1000
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for _, test := range []struct {
			name   string
			ctx    context.Context
			params any
			want   error
		}{
			{"context already done", done, "x", context.Canceled},
			{"params above the frame limit", t.Context(), strings.Repeat("x", 1000), process.ErrFrameTooLarge},
			{"params that are not JSON", t.Context(), make(chan int), nil},
			{"raw params that are not JSON", t.Context(), json.RawMessage("}"), nil},
		} {
			err := w.Call(test.ctx, "echo", test.params, nil)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || errors.Is(err, process.ErrBroken) {
				t.Errorf("%s: got %v, want %v", test.name, err, test.want)
			}
		}
		var n int
		if err := w.Call(t.Context(), "echo", "text", &n); err == nil || errors.Is(err, process.ErrBroken) {
			t.Errorf("result of the wrong type: got %v, want an error that keeps the worker", err)
		}
		var s string
		if err := w.Call(t.Context(), "echo", "text", &s); err != nil || s != "text" || !w.Usable() {
			t.Errorf("afterwards: got %q, error %v, usable %v", s, err, w.Usable())
		}
	})
}

func TestLateReplyReachesNobody(t *testing.T) {
	inBubble(t, scriptConfig(func(s *script) {
		s.next()
		time.Sleep(time.Minute)
		s.result(`"late"`)
	}), func(t *testing.T, w *process.Worker) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var late string
		err := w.Call(ctx, "echo", "x", &late)
		time.Sleep(2 * time.Minute)
		checkBroken(t, w, err, context.DeadlineExceeded)
		if late != "" {
			t.Errorf("the cancelled call's result was set to %q", late)
		}
	})
}

func TestCancelledWriteBreaksTheWorker(t *testing.T) {
	inBubble(t, scriptConfig(func(*script) { time.Sleep(time.Minute) }), func(t *testing.T, w *process.Worker) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("enough"))
		defer cancel()
		err := w.Call(ctx, "echo", "x", nil)
		checkBroken(t, w, err, context.Cause(ctx))
	})
}

func TestWorkerWithAnUnansweredCallIsUnusable(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		go w.Call(t.Context(), "sleep", map[string]int{"seconds": 1}, nil)
		synctest.Wait()
		if w.Usable() {
			t.Error("usable amid a call")
		}
		if err := w.Ping(t.Context()); err != nil { // takes its turn
			t.Error(err)
		}
		if !w.Usable() {
			t.Error("unusable after the call")
		}
	})
}

func TestProtocolViolationsBreakTheWorker(t *testing.T) {
	for name, violate := range map[string]func(s *script){
		"wrong id":       func(s *script) { s.reply(s.id+1, `"x"`) },
		"old id":         func(s *script) { s.reply(s.id-1, `"x"`) },
		"no id":          func(s *script) { s.frame(`{"jsonrpc":"2.0","result":"x"}`) },
		"id as text":     func(s *script) { s.frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":"%d","result":"x"}`, s.id)) },
		"no version":     func(s *script) { s.frame(fmt.Sprintf(`{"id":%d,"result":"x"}`, s.id)) },
		"neither":        func(s *script) { s.frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d}`, s.id)) },
		"both":           func(s *script) { s.frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":1,"error":{"code":1}}`, s.id)) },
		"request":        func(s *script) { s.frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"x","result":1}`, s.id)) },
		"garbage":        func(s *script) { s.frame("garbage") },
		"empty frame":    func(s *script) { s.frame("") },
		"trailing bytes": func(s *script) { s.frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":1}x`, s.id)) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, scriptConfig(func(s *script) { s.next(); violate(s) }), func(t *testing.T, w *process.Worker) {
				checkBroken(t, w, w.Call(t.Context(), "echo", "x", nil), process.ErrProtocol)
			})
		})
	}
}

func TestBrokenFramingBreaksTheWorker(t *testing.T) {
	for name, test := range map[string]struct {
		bytes string
		want  error
	}{
		"end of file":      {"", io.EOF},
		"cut header":       {"\x00\x00", io.ErrUnexpectedEOF},
		"cut body":         {"\x00\x00\x00\x09{", io.ErrUnexpectedEOF},
		"oversize":         {"\xff\xff\xff\xff{", process.ErrFrameTooLarge},
		"stray text":       {"loading model...\n", process.ErrFrameTooLarge},
		"reply at no size": {"\x00\x00\x00\x00", process.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, scriptConfig(func(s *script) {
				s.next()
				s.Write([]byte(test.bytes))
				s.Close()
			}), func(t *testing.T, w *process.Worker) {
				checkBroken(t, w, w.Call(t.Context(), "echo", "x", nil), test.want)
			})
		})
	}
}

func TestIdleWorkerThatBreaksIsReported(t *testing.T) {
	for name, test := range map[string]struct {
		act  func(s *script)
		want error
	}{
		"end of file":       {func(s *script) { s.Close() }, io.EOF},
		"unasked frame":     {func(s *script) { s.result(`"again"`) }, process.ErrProtocol},
		"garbage on a pipe": {func(s *script) { s.Write([]byte("hello, world")) }, process.ErrFrameTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := scriptConfig(func(s *script) { time.Sleep(time.Second); test.act(s) })
			var reports []error
			cfg.OnExit = func(_ pool.WorkerID, cause error) { reports = append(reports, cause) }
			inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(reports) != 1 || !errors.Is(reports[0], test.want) || !errors.Is(reports[0], process.ErrBroken) {
					t.Errorf("reports %v, want one of ErrBroken because of %v", reports, test.want)
				}
				checkBroken(t, w, w.Call(t.Context(), "echo", "x", nil), test.want)
			})
			if len(reports) != 1 {
				t.Errorf("in the end: reports %v, want one", reports)
			}
		})
	}
}

func TestStoppedWorkerIsNotReported(t *testing.T) {
	cfg := demoConfig()
	cfg.OnExit = func(_ pool.WorkerID, cause error) { t.Errorf("reported %v", cause) }
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		call := make(chan error)
		go func() { call <- w.Call(t.Context(), "sleep", map[string]int{"seconds": 60}, nil) }()
		synctest.Wait()
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		checkBroken(t, w, <-call, process.ErrStopped)
		await(t, w.Done(), "Done")
	})
}

func TestCancelledPingKeepsTheWorker(t *testing.T) {
	inBubble(t, scriptConfig(func(s *script) {
		s.next() // the ping
		time.Sleep(time.Minute)
		s.result(`{"instance":"scripted"}`)
		for s.next() {
			s.result(`"` + s.method + `"`)
		}
	}), func(t *testing.T, w *process.Worker) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if err := w.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, process.ErrBroken) {
			t.Errorf("Ping: got %v, want the deadline alone", err)
		}
		if !w.Usable() {
			t.Error("a cancelled check made the worker unusable")
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, process.ErrBroken) {
			t.Errorf("second Ping: got %v, want the deadline alone", err)
		}
		var answer string
		if err := w.Call(t.Context(), "mine", nil, &answer); err != nil || answer != "mine" {
			t.Errorf("call after the ping: got %q, error %v; want its own reply", answer, err)
		}
		if waited := time.Since(begin); waited != time.Minute {
			t.Errorf("the call was answered after %v, want it after the ping's reply at 1m0s", waited)
		}
	})
}

func TestCallBehindAnUnansweredPingTimesOut(t *testing.T) {
	inBubble(t, scriptConfig(func(*script) {}), func(t *testing.T, w *process.Worker) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.Ping(ctx)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		checkBroken(t, w, w.Call(ctx, "echo", "x", nil), context.DeadlineExceeded)
	})
}

func TestPingNoticesAnotherIncarnation(t *testing.T) {
	inBubble(t, scriptConfig(func(s *script) {
		s.next()
		s.result(`{"instance":"another"}`)
	}), func(t *testing.T, w *process.Worker) {
		checkBroken(t, w, w.Ping(t.Context()), process.ErrProtocol)
	})
}
