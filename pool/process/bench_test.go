package process_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// benchSizes are the payloads that calls are measured with, in bytes.
var benchSizes = []int{16, 1 << 10, 64 << 10, 1 << 20}

// BenchmarkCall measures one call after another on one worker.
func BenchmarkCall(b *testing.B) {
	for _, layer := range []struct {
		name string
		cfg  func() process.Config
	}{
		{"layer=wire", demoConfig},
		{"layer=process/worker=go", func() process.Config { return roleConfig("demo") }},
		{"layer=process/worker=python", func() process.Config { return pythonConfig(b, python.Demo()) }},
	} {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/form=json/size=%d", layer.name, size), func(b *testing.B) { benchmarkCall(b, layer.cfg(), size, false) })
			b.Run(fmt.Sprintf("%s/form=raw/size=%d", layer.name, size), func(b *testing.B) { benchmarkCall(b, layer.cfg(), size, true) })
		}
	}
}

func benchmarkCall(b *testing.B, cfg process.Config, size int, raw bool) {
	w, err := process.Start(b.Context(), cfg, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop(context.Background())
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	call := callJSON(ctx, w, size)
	if raw {
		call = callRaw(ctx, w, size)
	}
	b.ReportAllocs()
	b.SetBytes(int64(size))
	for b.Loop() {
		if err := call(); err != nil {
			b.Fatal(err)
		}
	}
}

// callRaw returns a call that echoes a payload, and checks the size of the answer.
func callRaw(ctx context.Context, w *process.Worker, size int) func() error {
	payload, into := bytes.Repeat([]byte{'x'}, size), make([]byte, size)
	return func() error {
		answer, err := w.CallRaw(ctx, "raw_echo", payload, into)
		if err == nil && len(answer) != size {
			err = fmt.Errorf("%d bytes came back, want %d", len(answer), size)
		}
		return err
	}
}

// callJSON returns a call that echoes a JSON text of that size, which stays encoded on the
// host.
func callJSON(ctx context.Context, w *process.Worker, size int) func() error {
	params, answer := jsonParams(size), json.RawMessage(nil)
	return func() error {
		err := w.Call(ctx, "echo", &params, &answer)
		if err == nil && len(answer) != len(params) {
			err = fmt.Errorf("%d bytes came back, want %d", len(answer), len(params))
		}
		return err
	}
}

func jsonParams(size int) json.RawMessage {
	return json.RawMessage(`["` + string(bytes.Repeat([]byte{'x'}, max(size-4, 0))) + `"]`)
}

// BenchmarkAgainstBare measures calls beside the same child driven bare: framed pipes, one
// write and then reads on one goroutine, nothing noticed that was not asked for, no
// cancelling. The two take turns in blocks; what is reported are the median of the blocks
// and the median of their ratios. Pin it to one CPU: ratios of free runs say little.
func BenchmarkAgainstBare(b *testing.B) {
	pipes := func(cfg process.Config) process.Config { cfg.SharedMemory = -1; return cfg }
	for _, child := range []struct {
		name string
		cfg  func(b *testing.B) process.Config
	}{
		{"go", func(*testing.B) process.Config { return roleConfig("demo") }},
		{"python", func(b *testing.B) process.Config { return pythonConfig(b, python.Demo()) }},
	} {
		for _, size := range benchSizes {
			for _, form := range []string{"raw", "shared", "json"} {
				b.Run(fmt.Sprintf("child=%s/form=%s/size=%d", child.name, form, size), func(b *testing.B) {
					cfg := child.cfg(b)
					if form != "shared" {
						cfg = pipes(cfg)
					}
					w, err := process.Start(b.Context(), cfg, 1)
					if err != nil {
						b.Fatal(err)
					}
					defer w.Stop(context.Background())
					ctx, cancel := context.WithCancel(b.Context())
					defer cancel()
					other := startBare(b, cfg)
					if form == "json" {
						text := fmt.Sprintf(`{"jsonrpc":"2.0","id":100000000,"method":"echo","params":%s}`, jsonParams(size))
						other.frame = append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
						compare(b, callJSON(ctx, w, size), other.call)
						return
					}
					if !slices.Contains(w.Features(), process.FeatureBinary) {
						b.Skip("the child has no payloads")
					}
					header := `{"jsonrpc":"2.0","id":100000000,"method":"raw_echo"}`
					other.frame = binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+size))
					other.frame = binary.BigEndian.AppendUint32(other.frame, uint32(len(header)))
					other.frame = append(other.frame, header...)
					other.frame = append(other.frame, bytes.Repeat([]byte{'x'}, size)...)
					compare(b, callRaw(ctx, w, size), other.call)
				})
			}
		}
	}
}

// compare reports how long ours takes beside theirs.
func compare(b *testing.B, ours, theirs func() error) {
	const blocks = 40
	b.ReportAllocs()
	perBlock := max(b.N/blocks, 1)
	measure := func(call func() error) float64 {
		begin := time.Now()
		for range perBlock {
			if err := call(); err != nil {
				b.Fatal(err)
			}
		}
		return float64(time.Since(begin)) / float64(perBlock)
	}
	measure(ours)
	measure(theirs)
	b.ResetTimer()
	var own, bare, ratios []float64
	for range blocks {
		a, z := measure(ours), measure(theirs)
		own, bare, ratios = append(own, a), append(bare, z), append(ratios, a/z)
	}
	b.ReportMetric(0, "ns/op") // of both together, it would say nothing
	b.ReportMetric(median(own), "ours-ns")
	b.ReportMetric(median(bare), "bare-ns")
	b.ReportMetric(median(ratios), "ratio")
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// bare drives a worker process with as little as that takes.
type bare struct {
	requests *os.File
	replies  *bufio.Reader
	frame    []byte
	body     []byte
}

// next counts up the digits of a number.
func next(digits []byte) {
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i]++; digits[i] <= '9' {
			return
		}
		digits[i] = '0'
	}
}

// startBare starts a child, which is killed in the end, and says hello to it.
func startBare(b *testing.B, cfg process.Config) *bare {
	b.Helper()
	childReads, requests, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	replies, childWrites, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(cfg.Command[0], cfg.Command[1:]...)
	cmd.Env = append(slices.Clone(cfg.Env), process.ChannelVariable+"=3,4", "PATH="+os.Getenv("PATH"))
	cmd.ExtraFiles = []*os.File{childReads, childWrites}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	childReads.Close()
	childWrites.Close()
	b.Cleanup(func() {
		requests.Close()
		cmd.Process.Kill()
		cmd.Wait()
		replies.Close()
	})
	d := &bare{requests: requests, replies: bufio.NewReaderSize(replies, 64<<10)}
	text := `{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1,"frame_limit":16777216}}`
	d.frame = append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
	if err := d.call(); err != nil {
		b.Fatal(err)
	}
	return d
}

// call writes the frame, with the next id, and reads one.
func (d *bare) call() error {
	if at := bytes.Index(d.frame[:min(len(d.frame), 64)], []byte(`"id":1`)); at >= 0 && d.frame[at+6] != ',' {
		next(d.frame[at+6 : at+14])
	}
	if _, err := d.requests.Write(d.frame); err != nil {
		return err
	}
	var header [4]byte
	if _, err := io.ReadFull(d.replies, header[:]); err != nil {
		return err
	}
	length := int(binary.BigEndian.Uint32(header[:]))
	if cap(d.body) < length {
		d.body = make([]byte, length)
	}
	_, err := io.ReadFull(d.replies, d.body[:length])
	return err
}
