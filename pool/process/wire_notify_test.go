package process_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

func TestProgress(t *testing.T) {
	inBubble(t, demoConfig(), func(t *testing.T, w *process.Worker) { checkProgress(t, w) })
}

func checkProgress(t *testing.T, w *process.Worker) {
	t.Helper()
	const steps = 50
	var got []string
	var result int
	req := process.Request{
		Method: "steps", Params: map[string]int{"n": steps},
		Progress: func(value json.RawMessage) { got = append(got, string(value)) },
	}
	if err := w.Exchange(t.Context(), &req, &process.Reply{Result: &result}); err != nil || result != steps {
		t.Fatalf("result %d, error %v", result, err)
	}
	if len(got) != steps {
		t.Fatalf("progress %q, want %d values", got, steps)
	}
	for i, value := range got {
		var step struct{ Step int }
		if err := json.Unmarshal([]byte(value), &step); err != nil || step.Step != i {
			t.Errorf("value %d is %s, error %v", i, value, err)
		}
	}
	if err := w.Call(t.Context(), "steps", map[string]int{"n": steps}, nil); err != nil {
		t.Errorf("nobody wants to know: %v", err)
	}
}

// Progress of another request may have been under way, and is dropped. A caller that is
// slow misses the oldest values, never the latest.
func TestProgressThatNobodyTakes(t *testing.T) {
	inBubble(t, scriptConfig(func(s *script) {
		s.next()
		s.note("progress", fmt.Sprintf(`{"id":%d,"value":"early"}`, s.id+1))
		for i := range 1000 {
			s.note("progress", fmt.Sprintf(`{"id":%d,"value":%d}`, s.id, i))
		}
		s.result("1")
		s.note("progress", fmt.Sprintf(`{"id":%d,"value":"late"}`, s.id))
		s.next()
		s.result("2")
	}), func(t *testing.T, w *process.Worker) {
		var got []string
		req := process.Request{Method: "m", Progress: func(value json.RawMessage) {
			got = append(got, string(value))
			time.Sleep(time.Minute)
		}}
		if err := w.Exchange(t.Context(), &req, nil); err != nil {
			t.Fatal(err)
		}
		if len(got) < 2 || len(got) > 200 || got[0] != "0" || got[len(got)-1] != "999" {
			t.Errorf("progress %q, want the first and at last 999", got)
		}
		if err := w.Call(t.Context(), "m", nil, nil); err != nil {
			t.Error(err)
		}
	})
}

// logged returns a logger and what it has logged.
func logged() (*slog.Logger, *bytes.Buffer) {
	var text bytes.Buffer
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: drop})), &text
}

func TestLogNotifications(t *testing.T) {
	cfg := demoConfig()
	logger, text := logged()
	cfg.Logger = logger
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		for _, level := range []string{"debug", "info", "warning", "error"} {
			if err := w.Call(t.Context(), "log", map[string]string{"level": level, "message": `a "` + level + `"`}, nil); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for _, want := range []string{
			`level=DEBUG msg="a \"debug\"" worker=1`, `level=INFO msg="a \"info\"" worker=1`,
			`level=WARN msg="a \"warning\"" worker=1`, `level=ERROR msg="a \"error\"" worker=1`,
		} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the log says\n%swant %s", text, want)
			}
		}
	})
}

func TestLogNotificationsInFull(t *testing.T) {
	cfg := scriptConfig(func(s *script) {
		s.note("log", `{"level":"warning","message":"slow","logger":"model","attributes":{"seconds":1.5,"at":["x"]}}`)
		s.note("log", `{"level":"quiet","message":"unknown level"}`)
		s.note("log", `["not","an","object"]`)
		s.note("log", `{}`)
	})
	logger, text := logged()
	cfg.Logger = logger
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		synctest.Wait()
		const want = `level=WARN msg=slow worker=1 logger=model attributes.at=[x] attributes.seconds=1.5
level=INFO msg="unknown level" worker=1
level=WARN msg="malformed log notification" worker=1 error="json: cannot unmarshal array into Go value of type process.logNotification"
level=INFO msg="" worker=1
`
		if text.String() != want {
			t.Errorf("the log says\n%swant\n%s", text, want)
		}
		if !w.Usable() {
			t.Error("not usable")
		}
	})
}

func TestOtherNotifications(t *testing.T) {
	cfg := scriptConfig(func(s *script) {
		s.note("mood", `{"good":true}`)
		s.frame(`{"jsonrpc":"2.0","method":"bare"}`)
		s.next()
		s.note("cancel", `{"id":1}`)
		s.result("1")
	})
	var got []string
	cfg.OnNotification = func(id pool.WorkerID, method string, params json.RawMessage) {
		got = append(got, fmt.Sprint(id, " ", method, string(params)))
	}
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		if err := w.Call(t.Context(), "m", nil, nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if want := `[1 mood{"good":true} 1 bare 1 cancel{"id":1}]`; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
}

// A flood of notifications that nobody takes neither holds up replies nor fills memory.
func TestFloodOfNotifications(t *testing.T) {
	const flood, size = 400, 20_000
	cfg := scriptConfig(func(s *script) {
		large := `"` + strings.Repeat("x", size) + `"`
		for s.next() {
			for range flood {
				s.note("news", large)
				s.note("progress", fmt.Sprintf(`{"id":%d,"value":%s}`, s.id, large))
			}
			s.result(`"` + s.method + `"`)
		}
	})
	free := make(chan struct{})
	heard := 0
	cfg.OnNotification = func(pool.WorkerID, string, json.RawMessage) {
		<-free
		heard++
	}
	logger, text := logged()
	cfg.Logger = logger
	var before, after runtime.MemStats
	inBubble(t, cfg, func(t *testing.T, w *process.Worker) {
		free = make(chan struct{})
		runtime.GC()
		runtime.ReadMemStats(&before)
		for _, method := range []string{"first", "second"} {
			var got string
			if err := w.Call(t.Context(), method, nil, &got); err != nil || got != method {
				t.Fatalf("%s: got %q, error %v", method, got, err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 6<<20 {
			t.Errorf("%d MB of notifications cost %d MB of memory", 2*flood*size>>20, grown>>20)
		}
		close(free)
		synctest.Wait()
		if heard == 0 || heard > 300 || !strings.Contains(text.String(), fmt.Sprintf("worker=1 dropped=%d", 2*flood-heard)) {
			t.Errorf("%d heard of %d, and the log says\n%s", heard, 2*flood, text)
		}
	})
}
