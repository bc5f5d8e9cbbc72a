package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// BenchmarkCall measures one small call after another on one worker.
func BenchmarkCall(b *testing.B) {
	b.Run("layer=wire", func(b *testing.B) { benchmarkCall(b, demoConfig()) })
	b.Run("layer=process/worker=go", func(b *testing.B) { benchmarkCall(b, roleConfig("demo")) })
	b.Run("layer=process/worker=python", func(b *testing.B) { benchmarkCall(b, pythonConfig(b, python.Demo())) })
}

func benchmarkCall(b *testing.B, cfg process.Config) {
	w, err := process.Start(b.Context(), cfg, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop(context.Background())
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	params, result := json.RawMessage(`{"text":"hello, world"}`), json.RawMessage(nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Call(ctx, "echo", &params, &result); err != nil {
			b.Fatal(err)
		}
	}
	if !bytes.Equal(params, result) {
		b.Fatalf("got %s, want %s", result, params)
	}
}

// BenchmarkStart measures a worker's start, handshake and stop.
func BenchmarkStart(b *testing.B) {
	for name, cfg := range map[string]process.Config{"worker=go": roleConfig("demo"), "worker=python": pythonConfig(b, python.Demo())} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w, err := process.Start(b.Context(), cfg, 1)
				if err != nil {
					b.Fatal(err)
				}
				if err := w.Stop(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
