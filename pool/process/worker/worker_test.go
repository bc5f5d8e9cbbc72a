package worker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hello = `{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1,"frame_limit":100000}}`

func framed(bodies ...string) []byte {
	var stream []byte
	for _, body := range bodies {
		stream = append(binary.BigEndian.AppendUint32(stream, uint32(len(body))), body...)
	}
	return stream
}

// answers serves methods, sends one frame after the other, each when the last has been
// dealt with, and returns the bodies of what comes back, and what Serve returned.
func answers(t *testing.T, methods map[string]worker.Method, sent []string, options ...worker.Option) (bodies []string, served error) {
	t.Helper()
	host, remote := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- worker.Serve(context.Background(), remote, methods, options...) }()
	var reading sync.WaitGroup
	reading.Go(func() {
		frames := process.NewFrameReader(host, 1<<24)
		for {
			body, err := frames.Next()
			if err != nil {
				return
			}
			bodies = append(bodies, string(body))
		}
	})
	for _, body := range sent {
		host.Write(framed(body))
		synctest.Wait()
	}
	host.Close()
	reading.Wait()
	return bodies, <-done
}

func TestWorkerAnswers(t *testing.T) {
	for name, test := range map[string]struct{ request, want string }{
		"call":                  {`{"jsonrpc":"2.0","id":2,"method":"echo","params":[1]}`, `{"jsonrpc":"2.0","id":2,"result":[1]` + "\n}"},
		"spaces":                {` { "method" : "echo", "id" : 2, "jsonrpc" : "2.0" } `, `{"jsonrpc":"2.0","id":2,"result":null` + "\n}"},
		"another version":       {`{"jsonrpc":"1.0","id":2,"method":"echo"}`, "-32600"},
		"no version":            {`{"id":2,"method":"echo"}`, "-32600"},
		"no method":             {`{"jsonrpc":"2.0","id":2}`, "-32600"},
		"id is text":            {`{"jsonrpc":"2.0","id":"2","method":"echo"}`, "-32600"},
		"id twice":              {`{"jsonrpc":"2.0","id":2,"id":2,"method":"echo"}`, "-32600"},
		"unknown method":        {`{"jsonrpc":"2.0","id":2,"method":"absent"}`, "-32601"},
		"payload not wanted":    {"\x00\x00\x00\x2b" + `{"jsonrpc":"2.0","id":2,"method":"session"}` + "raw", "-32601"},
		"no payload":            {`{"jsonrpc":"2.0","id":2,"method":"raw_echo"}`, "-32602"},
		"shared without memory": {`{"jsonrpc":"2.0","id":2,"method":"raw_echo","shared":[0,10]}`, "-32602"},
		"bad params":            {`{"jsonrpc":"2.0","id":2,"method":"steps","params":{"n":"x"}}`, "-32602"},
		"hello in a batch":      {`[` + strings.Replace(hello, `"id":1`, `"id":2`, 1) + `]`, "-32600"},
		"stream in a batch":     {`[{"jsonrpc":"2.0","id":2,"method":"count","params":{"n":1},"stream":{"window":1}}]`, "-32600"},
		"batch":                 {`[{"jsonrpc":"2.0","id":2,"method":"echo","params":1},{"jsonrpc":"2.0","id":3,"method":"ping"}]`, `"result":1`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := answers(t, worker.Demo(func(int) {}), []string{hello, test.request}, worker.DemoOptions()...)
				if err != nil || len(got) != 2 || !strings.Contains(got[1], test.want) {
					t.Errorf("got %q, Serve returned %v; want hello's answer and %q", got, err, test.want)
				}
			})
		})
	}
}

func TestWorkerEndsOnBadRequests(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":           `{{`,
		"not UTF-8":         "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"\xff\"}",
		"zero bytes":        "\x00\x00\x00\x00\x00",
		"header too long":   "\x00\x00\x00\x09{}",
		"empty":             ``,
		"empty batch":       `[]`,
		"batch of numbers":  `[1]`,
		"batch, payload":    "\x00\x00\x00\x02[]x",
		"malformed cancel":  `{"jsonrpc":"2.0","method":"cancel","params":5}`,
		"malformed credit":  `{"jsonrpc":"2.0","method":"credit","params":{"id":"x"}}`,
		"malformed hello":   `{"jsonrpc":"2.0","id":2,"method":"hello","params":[]}`,
		"no frame limit":    `{"jsonrpc":"2.0","id":2,"method":"hello","params":{"protocol":1}}`,
		"stream, no window": `{"jsonrpc":"2.0","id":2,"method":"count","stream":{}}`,
		"id of hello":       `{"jsonrpc":"2.0","id":1,"method":"echo"}`,
		"id twice in batch": `[{"jsonrpc":"2.0","id":2,"method":"echo"},{"jsonrpc":"2.0","id":2,"method":"echo"}]`,
		"batch not rising":  `[{"jsonrpc":"2.0","id":3,"method":"echo"},{"jsonrpc":"2.0","id":2,"method":"echo"}]`,
		"above the limit":   strings.Repeat(" ", 100_001),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := answers(t, worker.Demo(func(int) {}), []string{hello, body}, worker.DemoOptions()...)
				if err == nil || len(got) != 1 {
					t.Errorf("got %q, Serve returned %v; want it to end after hello", got, err)
				}
			})
		})
	}
}

func TestServeRefusesBadOptions(t *testing.T) {
	for name, serve := range map[string]func(channel net.Conn) error{
		"reserved name": func(channel net.Conn) error {
			return worker.Serve(t.Context(), channel, map[string]worker.Method{"ping": nil})
		},
		"cancellable method that is none": func(channel net.Conn) error {
			return worker.Serve(t.Context(), channel, nil, worker.Cancellable("absent"))
		},
	} {
		host, remote := net.Pipe()
		if err := serve(remote); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := host.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: the channel gives %v, want it closed", name, err)
		}
	}
}

func TestWorkerSideOutsideOfACall(t *testing.T) {
	if _, ok := worker.Payload(t.Context()); ok {
		t.Error("a payload without a call")
	}
	if err := worker.Progress(t.Context(), 1); err == nil {
		t.Error("progress without a call")
	}
	handler := worker.NewLogHandler(nil)
	if err := handler.Handle(t.Context(), slog.NewRecord(time.Now(), slog.LevelInfo, "m", 0)); err == nil {
		t.Error("a log record without a call")
	}
	if handler.Enabled(t.Context(), slog.LevelDebug) || !handler.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("the level is not kept")
	}
	method := worker.StreamFunc(func(context.Context, int, *worker.Emitter) (int, error) { return 0, nil })
	if _, err := method(t.Context(), nil); err == nil {
		t.Error("a stream without a call")
	}
}

func TestLogRecordsKeepTheirAttributes(t *testing.T) {
	methods := map[string]worker.Method{"m": worker.Func(func(ctx context.Context, _ struct{}) (bool, error) {
		logger := slog.New(worker.NewLogHandler(slog.LevelInfo)).With("a", 1).WithGroup("g")
		logger.DebugContext(ctx, "not this")
		logger.WarnContext(ctx, "größe\n", "b", "x", "msg", "own")
		return true, nil
	})}
	synctest.Test(t, func(t *testing.T) {
		got, err := answers(t, methods, []string{hello, `{"jsonrpc":"2.0","id":2,"method":"m"}`})
		want := `{"jsonrpc":"2.0","method":"log","params":{"level":"warning","message":"größe\n","attributes":{"a":1,"g":{"b":"x","msg":"own"}}}}`
		if err != nil || len(got) != 3 || got[1] != want {
			t.Errorf("got %q, error %v; want %s", got, err, want)
		}
	})
}

// A method that does not heed its context goes on; what it returns is the answer.
func TestCancelReachesTheContext(t *testing.T) {
	var cause error
	methods := map[string]worker.Method{
		"stubborn": func(ctx context.Context, _ json.RawMessage) (any, error) { <-ctx.Done(); return "all the same", nil },
		"heeding": func(ctx context.Context, _ json.RawMessage) (any, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil, fmt.Errorf("given up: %w", ctx.Err())
		},
		"failing": func(ctx context.Context, _ json.RawMessage) (any, error) {
			<-ctx.Done()
			return nil, errors.New("other")
		},
	}
	synctest.Test(t, func(t *testing.T) {
		call := func(id int, method string) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q}`, id, method)
		}
		cancel := func(id int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","method":"cancel","params":{"id":%d}}`, id)
		}
		got, err := answers(t, methods, []string{
			hello, cancel(2), call(2, "stubborn"), cancel(1), cancel(2), call(3, "heeding"), cancel(2), cancel(3),
			call(4, "failing"), cancel(4), call(5, "ping"),
		}, worker.Cancellable("heeding", "stubborn", "heeding"))
		if err != nil || len(got) != 5 || !strings.Contains(got[0], `"cancellable":["heeding","stubborn"]`) {
			t.Fatalf("got %q, Serve returned %v", got, err)
		}
		for i, want := range []string{"all the same", "-32003", "-32000", "instance"} {
			if !strings.Contains(got[i+1], want) {
				t.Errorf("answer %s, want %s", got[i+1], want)
			}
		}
		if !errors.Is(cause, worker.ErrCancelled) {
			t.Errorf("cause %v, want ErrCancelled", cause)
		}
	})
}

// FuzzServe sends a worker any bytes. It ends, and each of its messages is JSON; no request
// is answered twice.
func FuzzServe(f *testing.F) {
	f.Add(framed(hello, `{"jsonrpc":"2.0","id":2,"method":"echo","params":{"a":[1]}}`))
	f.Add(framed(hello, "\x00\x00\x00\x2c"+`{"jsonrpc":"2.0","id":2,"method":"raw_echo"}`+"payload"))
	f.Add(framed(hello, `{"jsonrpc":"2.0","id":2,"method":"count","params":{"n":3},"stream":{"window":1}}`, `{"jsonrpc":"2.0","method":"credit","params":{"id":2,"chunks":5}}`))
	f.Add(framed(hello, `[{"jsonrpc":"2.0","id":2,"method":"echo"},{"jsonrpc":"2.0","id":3,"method":"ping"}]`))
	f.Add(framed(hello, `{"jsonrpc":"2.0","method":"cancel","params":{"id":2}}`))
	f.Add(framed(hello, `{"jsonrpc":"2.0","id":2,"method":"raw_echo","shared":[0,10]}`))
	f.Add([]byte("\x00\x00\x00\x09{"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		if bytes.Contains(stream, []byte("shared_memory")) {
			return // would have it map a descriptor of this process
		}
		demo := worker.Demo(nil)
		methods := map[string]worker.Method{"echo": demo["echo"], "raw_echo": demo["raw_echo"], "fail": demo["fail"]}
		methods["count"] = worker.StreamFunc(func(_ context.Context, _ json.RawMessage, out *worker.Emitter) (bool, error) {
			for i := range 3 {
				if err := out.Value(i); err != nil {
					return false, err
				}
			}
			return true, nil
		})
		channel := &tape{requests: bytes.NewReader(stream)}
		worker.Serve(context.Background(), channel, methods, worker.Cancellable("echo"))
		frames := process.NewFrameReader(&channel.replies, 1<<24)
		answered := make(map[uint64]int)
		for {
			text, _, err := frames.NextParts(nil)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("the worker's frames: %v", err)
			}
			if !json.Valid(text) {
				t.Fatalf("the worker said %q", text)
			}
			var reply struct{ ID uint64 }
			if json.Unmarshal(text, &reply) == nil && reply.ID != 0 {
				answered[reply.ID]++
			}
		}
		for id, n := range answered {
			if asked := bytes.Count(stream, []byte(fmt.Sprint(id))); n > asked {
				t.Fatalf("%d replies to request %d, which is named %d times", n, id, asked)
			}
		}
	})
}

// tape is a channel with all requests on it.
type tape struct {
	requests *bytes.Reader
	mu       sync.Mutex
	replies  bytes.Buffer
	closed   bool
}

func (t *tape) Read(p []byte) (int, error) { return t.requests.Read(p) }

func (t *tape) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0, io.ErrClosedPipe
	}
	return t.replies.Write(p)
}

func (t *tape) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return nil
}
