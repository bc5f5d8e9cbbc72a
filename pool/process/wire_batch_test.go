package process_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

func TestBatch(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		var first, last string
		var wrong int
		calls := []*process.BatchCall{
			{Method: "echo", Params: "first", Result: &first, Err: errors.New("of old")},
			{Method: "fail", Params: map[string]any{"code": 7, "message": "no"}},
			{Method: "absent"},
			{Method: "echo", Params: "text", Result: &wrong},
			{Method: "count", Params: map[string]int{"n": 3}},
			{Method: "echo", Params: "last", Result: &last},
		}
		if err := w.Batch(t.Context(), calls); err != nil {
			t.Fatal(err)
		}
		if calls[0].Err != nil || calls[5].Err != nil || calls[4].Err != nil || first != "first" || last != "last" {
			t.Errorf("got %q and %q, errors %v, %v and %v", first, last, calls[0].Err, calls[4].Err, calls[5].Err)
		}
		for i, code := range map[int]int{1: 7, 2: process.CodeUnknownMethod} {
			var remote *process.RemoteError
			if !errors.As(calls[i].Err, &remote) || remote.Code != code || remote.Worker != 1 {
				t.Errorf("call %d: got %v, want error %d of worker 1", i, calls[i].Err, code)
			}
		}
		if calls[3].Err == nil || !w.Usable() {
			t.Errorf("result of the wrong type: got %v, usable %v", calls[3].Err, w.Usable())
		}
	})
}

func TestBatchOfTheGreatestSize(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) {
		results := make([]int, process.MaxBatch)
		calls := make([]*process.BatchCall, process.MaxBatch)
		for i := range calls {
			calls[i] = &process.BatchCall{Method: "echo", Params: i, Result: &results[i]}
		}
		if err := w.Batch(t.Context(), calls); err != nil {
			t.Fatal(err)
		}
		for i, got := range results {
			if got != i || calls[i].Err != nil {
				t.Fatalf("call %d: got %d, error %v", i, got, calls[i].Err)
			}
		}
		for _, refused := range [][]*process.BatchCall{nil, append(calls, calls[0]), {{Method: process.MethodHello}}, {{Method: "echo", Params: make(chan int)}}} {
			if err := w.Batch(t.Context(), refused); err == nil || errors.Is(err, process.ErrBroken) || !w.Usable() {
				t.Errorf("batch of %d: got %v, usable %v; want it refused", len(refused), err, w.Usable())
			}
		}
	})
}

// What does not fit into the frame of the replies is answered with an error, alone.
func TestBatchBeyondTheFrameLimit(t *testing.T) {
	cfg := demoConfig()
	cfg.FrameLimit = 2000
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		var small string
		calls := []*process.BatchCall{{Method: "count", Params: map[string]int{"n": 1000}}, {Method: "echo", Params: "x", Result: &small}}
		if err := w.Batch(t.Context(), calls); err != nil {
			t.Fatal(err)
		}
		var remote *process.RemoteError
		if !errors.As(calls[0].Err, &remote) || remote.Code != process.CodeTooLarge || calls[1].Err != nil || small != "x" {
			t.Errorf("got %v and %q with %v, want error %d and x", calls[0].Err, small, calls[1].Err, process.CodeTooLarge)
		}
		large := []*process.BatchCall{{Method: "echo", Params: strings.Repeat("x", 2000)}}
		if err := w.Batch(t.Context(), large); !errors.Is(err, process.ErrFrameTooLarge) || !w.Usable() {
			t.Errorf("got %v, want ErrFrameTooLarge", err)
		}
	})
}

func TestBatchNeedsTheFeature(t *testing.T) {
	inBubble(t, scriptConfig(func(*script) {}), func(t *testing.T, w *process.Worker) {
		err := w.Batch(t.Context(), []*process.BatchCall{{Method: "echo"}})
		var missing *process.FeatureError
		if !errors.As(err, &missing) || missing.Feature != process.FeatureBatch || !w.Usable() {
			t.Errorf("got %v, want *FeatureError", err)
		}
	})
}

func TestBatchIsNotCancelled(t *testing.T) {
	cfg := demoConfig()
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		calls := []*process.BatchCall{{Method: "nap", Params: map[string]int{"seconds": 60}}}
		begin := time.Now()
		err := w.Batch(deadline(t, time.Second), calls)
		if took := time.Since(begin); took != time.Second || calls[0].Err != nil {
			t.Errorf("took %v, error of the call %v; want 1s and none", took, calls[0].Err)
		}
		checkBroken(t, w, err, context.DeadlineExceeded)
	})
}

func TestBatchViolations(t *testing.T) {
	reply := func(id uint64) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":1}`, id) }
	for name, answer := range map[string]string{
		"duplicate id":   "[" + reply(2) + "," + reply(2) + "]",
		"missing reply":  "[" + reply(2) + "]",
		"foreign id":     "[" + reply(2) + "," + reply(4) + "]",
		"old id":         "[" + reply(2) + "," + reply(1) + "]",
		"too many":       "[" + reply(2) + "," + reply(3) + "," + reply(3) + "]",
		"empty":          "[]",
		"single reply":   reply(2),
		"no object":      "[1,2]",
		"cut":            "[" + reply(2) + "," + reply(3),
		"trailing comma": "[" + reply(2) + "," + reply(3) + ",]",
		"no id":          "[" + reply(2) + `,{"jsonrpc":"2.0","result":1}]`,
		"request":        "[" + reply(2) + `,{"jsonrpc":"2.0","id":3,"method":"x"}]`,
		"bad error":      "[" + reply(2) + `,{"jsonrpc":"2.0","id":3,"error":5}]`,
		"shared payload": "[" + reply(2) + `,{"jsonrpc":"2.0","id":3,"result":1,"shared":[0,1]}]`,
		"with a payload": "\x00\x00\x00\x02[]x",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, featuredConfig(`,"features":["batch","binary"]`, func(s *script) {
				s.frames.Next()
				s.frame(answer)
			}), func(t *testing.T, w *process.Worker) {
				calls := []*process.BatchCall{{Method: "echo"}, {Method: "echo"}}
				checkBroken(t, w, w.Batch(t.Context(), calls), process.ErrProtocol)
			})
		})
	}
	t.Run("array to a call", func(t *testing.T) {
		inBubble(t, scriptConfig(func(s *script) { s.next(); s.frame("[" + reply(2) + "]") }), func(t *testing.T, w *process.Worker) {
			checkBroken(t, w, w.Call(t.Context(), "echo", 1, nil), process.ErrProtocol)
		})
	})
}

func TestBatchRepliesInAnyOrder(t *testing.T) {
	inBubble(t, featuredConfig(`,"features":["batch"]`, func(s *script) {
		s.frames.Next()
		s.frame(`[{"jsonrpc":"2.0","id":3,"result":"second"},{"jsonrpc":"2.0","id":2,"result":"first"}]`)
	}), func(t *testing.T, w *process.Worker) {
		var a, b string
		calls := []*process.BatchCall{{Method: "a", Result: &a}, {Method: "b", Result: &b}}
		if err := w.Batch(t.Context(), calls); err != nil || a != "first" || b != "second" {
			t.Errorf("got %q and %q, error %v", a, b, err)
		}
	})
}
