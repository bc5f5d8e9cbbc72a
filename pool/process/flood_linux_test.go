package process_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// floods are what a worker prints over and over.
func floods() map[string][]byte {
	return map[string][]byte{
		"lines":       bytes.Repeat([]byte("0123456789012345678901234567890123456789\n"), 1500),
		"empty lines": bytes.Repeat([]byte("\n"), 1<<16),
		"no newline":  bytes.Repeat([]byte("x"), 1<<16),
		"binary":      bytes.Repeat([]byte("\x00\xff\xfe\x80\x00\x00\x00\x02{}\r\n\x1b[2J"), 1<<12),
	}
}

// playFlood is a worker that prints a flood.
func playFlood(methods map[string]worker.Method) {
	methods["flood"] = worker.Func(func(_ context.Context, params struct {
		Kind  string
		Bytes int
	},
	) (bool, error) {
		piece := floods()[params.Kind]
		for sent := 0; sent < params.Bytes; sent += len(piece) {
			if _, err := os.Stderr.Write(piece); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	worker.Main(methods)
}

// TestFloodOfOutputHarmsNobody has a worker print 100 MB as fast as it can.
func TestFloodOfOutputHarmsNobody(t *testing.T) {
	const floodBytes, rate, mayAllocate = 100 << 20, 100, 16 << 20
	other := start(t, roleConfig("demo"))
	for kind, piece := range floods() {
		t.Run(kind, func(t *testing.T) {
			cfg := roleConfig("flood")
			logged := newLog()
			cfg.Logger, cfg.LogRate = logged.logger(), rate
			w := start(t, cfg)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			flooded := make(chan error, 1)
			go func() {
				flooded <- w.Call(t.Context(), "flood", map[string]any{"kind": kind, "bytes": floodBytes}, nil)
			}()
			if err := other.Ping(t.Context()); err != nil {
				t.Errorf("another worker during the flood: %v", err)
			}
			if err := <-flooded; err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			var got string
			if err := w.Call(t.Context(), "echo", "intact", &got); err != nil || got != "intact" {
				t.Errorf("after the flood: got %q, error %v", got, err)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > mayAllocate {
				t.Errorf("the host allocated %d bytes for %d of output, want at most %d", allocated, floodBytes, mayAllocate)
			}
			err := w.Call(t.Context(), "crash", map[string]int{"code": 3}, nil)
			checkExit(t, "Call", err, process.ExitError{Kind: process.ExitCode, Code: 3})
			await(t, logged.has("worker output dropped"), "the count of lines that were not logged")
			if len(err.Error()) > 2000 || strings.ContainsRune(err.Error(), 0) {
				t.Errorf("the flood, of pieces like %.20q, makes a message of %d bytes", piece, len(err.Error()))
			}
		})
	}
}

func TestOnlySoManyLinesOfASecondAreLogged(t *testing.T) {
	cfg := roleConfig("demo")
	cfg.Command = []string{"sh", "-c", "for i in 1 2 3 4 5 6 7; do echo line $i; done"}
	logged := newLog()
	cfg.Logger, cfg.LogRate = logged.logger(), 3
	if _, err := process.Start(t.Context(), cfg, 1); !strings.Contains(fmt.Sprint(err), `"line 7"`) {
		t.Errorf("got %v, want an end after line 7", err)
	}
	all := strings.Join(logged.lines, "")
	if !strings.Contains(all, `line="line 3"`) || strings.Contains(all, `line="line 4"`) || !strings.Contains(all, "worker output dropped") || !strings.Contains(all, "lines=4") {
		t.Errorf("logged %s; want 3 lines, and that 4 were dropped", all)
	}
}
