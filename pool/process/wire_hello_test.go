package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

func TestHelloIsRefused(t *testing.T) {
	var version *process.VersionError
	for name, test := range map[string]struct {
		answer string
		is     error
		as     any
	}{
		"wrong version": {`"result":{"protocol":2,"pid":1,"instance":"i","methods":[]}`, nil, &version},
		"no instance":   {`"result":{"protocol":1,"pid":1,"methods":[]}`, process.ErrProtocol, nil},
		"no pid":        {`"result":{"protocol":1,"instance":"i","methods":[]}`, process.ErrProtocol, nil},
		"error reply":   {`"error":{"code":-1,"message":"not today"}`, nil, new(*process.RemoteError)},
		"no result":     {`"x":1`, process.ErrProtocol, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, err := process.Start(t.Context(), wireConfig(func(channel net.Conn) {
					defer channel.Close()
					process.NewFrameReader(channel, 1000).Next()
					(&script{Conn: channel}).frame(`{"jsonrpc":"2.0","id":1,` + test.answer + `}`)
				}), 1)
				if w != nil || err == nil {
					t.Fatalf("got worker %v and error %v, want an error", w, err)
				}
				if test.is != nil && !errors.Is(err, test.is) || test.as != nil && !errors.As(err, test.as) {
					t.Errorf("got %v, want %v or %T", err, test.is, test.as)
				}
			})
		})
	}
}

func TestHelloThatHangsEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("start timed out")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		_, err := process.Start(ctx, wireConfig(func(channel net.Conn) { io.Copy(io.Discard, channel) }), 1)
		if !errors.Is(err, cause) {
			t.Errorf("got %v, want the context's cause", err)
		}
	})
}

func TestGoWorkerEndsOnBadFrames(t *testing.T) {
	for name, test := range map[string]struct {
		bytes string
		want  error // nil: some error
		clean bool
	}{
		"end between frames": {"", nil, true},
		"end in a header":    {"\x00", io.ErrUnexpectedEOF, false},
		"end in a body":      {"\x00\x00\x00\x02{", io.ErrUnexpectedEOF, false},
		"oversize":           {"\xff\xff\xff\xff", process.ErrFrameTooLarge, false},
		"not JSON":           {"\x00\x00\x00\x02{{", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host, remote := net.Pipe()
				served := make(chan error, 1)
				go func() { served <- worker.Serve(t.Context(), remote, nil) }()
				host.Write([]byte(test.bytes))
				host.Close()
				switch err := <-served; {
				case test.clean && err != nil, !test.clean && err == nil, test.want != nil && !errors.Is(err, test.want):
					t.Errorf("Serve returned %v, want %v, clean %v", err, test.want, test.clean)
				}
			})
		})
	}
}

func TestGoWorkerRefusesCallsBeforeHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, remote := net.Pipe()
		go worker.Serve(t.Context(), remote, worker.Demo(nil))
		defer host.Close()
		s := &script{Conn: host}
		go s.frame(`{"jsonrpc":"2.0","id":5,"method":"echo","params":1}`)
		body, err := process.NewFrameReader(host, 1000).Next()
		if err != nil || !bytes.Contains(body, []byte("-32002")) || !bytes.Contains(body, []byte(`"id":5`)) {
			t.Errorf("got %s, error %v; want error reply -32002", body, err)
		}
	})
}

func TestServeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		host, remote := net.Pipe()
		time.AfterFunc(time.Second, cancel)
		if err := worker.Serve(ctx, remote, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if _, err := host.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("channel after Serve: %v, want it closed", err)
		}
	})
}

func TestRepliesMayBeWrittenInAnyWay(t *testing.T) {
	inBubble(t, scriptConfig(func(s *script) {
		for s.next() {
			switch s.method {
			case "plain":
				s.result(`{"a":1}`)
			case "other order":
				s.frame(fmt.Sprintf(`{"result":{"a":1},"id":%d,"jsonrpc":"2.0"}`, s.id))
			case "spaces":
				s.frame(fmt.Sprintf("{ \"jsonrpc\" : \"2.0\",\n \"id\":%d, \"result\":{\"a\":1}, \"error\":null }", s.id))
			case "more members":
				s.frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"a":1},"took":5}`, s.id))
			case `escaped "name\`:
				s.result(`{"a":1}`)
			}
		}
	}), func(t *testing.T, w *process.Worker) {
		for _, method := range []string{"plain", "other order", "spaces", "more members", `escaped "name\`, "plain"} {
			var got json.RawMessage
			if err := w.Call(t.Context(), method, nil, &got); err != nil || string(got) != `{"a":1}` {
				t.Errorf("%s: got %s, error %v", method, got, err)
			}
		}
	})
}
