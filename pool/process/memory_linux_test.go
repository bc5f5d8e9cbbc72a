package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// mappings returns how many mappings of shared memory this process has.
func mappings(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "/memfd:poolproof")
}

func TestPayloadsInSharedMemory(t *testing.T) {
	const half = 1 << 20
	for _, stdio := range []bool{false, true} {
		t.Run(fmt.Sprintf("stdio=%v", stdio), func(t *testing.T) {
			cfg := roleConfig("demo")
			cfg.Stdio = stdio
			cfg.SharedMemory = 2 * half
			before := mappings(t)
			w := start(t, cfg)
			if !slices.Contains(w.Features(), process.FeatureSharedMemory) || mappings(t) != before+1 {
				t.Fatalf("features %v, %d mappings; want shared memory and one mapping", w.Features(), mappings(t)-before)
			}
			// What does not fit goes through the pipe, and so does what is small.
			checkPayloads(t, w, []int{0, 100, process.DefaultSharedThreshold - 1, process.DefaultSharedThreshold, 64 << 10, half - 1, half, half + 1, 3 * half, 50})
			if err := w.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			await(t, w.Done(), "the worker's end")
			if got := mappings(t); got != before {
				t.Errorf("%d mappings are left", got-before)
			}
		})
	}
}

// The pipe alone would refuse these payloads, so they have gone through the memory.
func TestSharedMemoryIsUsed(t *testing.T) {
	cfg := roleConfig("demo")
	cfg.FrameLimit = 4 << 10
	cfg.SharedThreshold = 1 << 10
	w := start(t, cfg)
	for _, size := range []int{100 << 10, 4 << 20} {
		got, err := w.CallRaw(t.Context(), "raw_echo", pattern(size), nil)
		if err != nil || !bytes.Equal(got, pattern(size)) {
			t.Errorf("echo of %d bytes: got %d, error %v", size, len(got), err)
		}
	}
	if _, err := w.CallRaw(t.Context(), "raw_echo", pattern(4<<20+1), nil); !errors.Is(err, process.ErrFrameTooLarge) || !w.Usable() {
		t.Errorf("what fits neither: got %v, want ErrFrameTooLarge", err)
	}
}

func TestSharedMemorySwitchedOff(t *testing.T) {
	cfg := roleConfig("demo")
	cfg.SharedMemory = -1
	before := mappings(t)
	w := start(t, cfg)
	if slices.Contains(w.Features(), process.FeatureSharedMemory) || mappings(t) != before {
		t.Errorf("features %v, %d mappings; want no shared memory", w.Features(), mappings(t)-before)
	}
	checkPayloads(t, w, []int{100, 300_000})
}

func TestWorkerThatDoesNotShareMemory(t *testing.T) {
	before := mappings(t)
	w := start(t, roleConfig("aloof"))
	if mappings(t) != before {
		t.Error("the memory that the worker did not take is still mapped")
	}
	checkPayloads(t, w, []int{100, 300_000})
}

// A worker that says where its payload is, but lies, is discarded; the host does not fault.
func TestSharedRangesAreChecked(t *testing.T) {
	for _, text := range []string{
		"[0,10]", "[4194303,10]", "[8388600,9]", "[8388609,0]", "[4194304,4194305]", "[4194304,18446744073709551615]",
		"[18446744073709551615,1]", "[-1,1]", "[4194304]", "[4194304,1,1]", `"x"`, "null", "4194304", "[4194304.0,1]", "[9223372036854775807,9223372036854775807]",
	} {
		t.Run(text, func(t *testing.T) {
			w := start(t, roleConfig("liar"))
			var rep process.Reply
			err := w.Exchange(t.Context(), &process.Request{Method: "range", Params: text}, &rep)
			checkBroken(t, w, err, process.ErrProtocol)
		})
	}
	w := start(t, roleConfig("liar"))
	for _, text := range []string{"[4194304,10]", "[8388608,0]", "[ 8388598 , 10 ]"} {
		var rep process.Reply
		if err := w.Exchange(t.Context(), &process.Request{Method: "range", Params: text}, &rep); err != nil || !rep.HasPayload {
			t.Errorf("%s: got %d bytes, error %v; want them", text, len(rep.Payload), err)
		}
	}
}

// The seals keep a worker from changing the size of the memory, which would fault the host.
func TestSharedMemoryCannotBeTruncated(t *testing.T) {
	w := start(t, roleConfig("meddler"))
	var tried []string
	if err := w.Call(t.Context(), "resize", nil, &tried); err != nil {
		t.Fatal(err)
	}
	want := []string{"truncate: operation not permitted", "grow: operation not permitted", "unseal: operation not permitted"}
	if !slices.Equal(tried, want) {
		t.Errorf("the worker got %q, want %q", tried, want)
	}
	checkPayloads(t, w, []int{300_000})
}

// A worker may punch holes into the memory, which reads as zeros then.
func TestSharedMemoryWithAHole(t *testing.T) {
	w := start(t, roleConfig("meddler"))
	if err := w.Call(t.Context(), "punch", nil, nil); err != nil {
		t.Fatal(err)
	}
	checkPayloads(t, w, []int{300_000})
}

// Stopping a worker amid copies unmaps nothing that is being copied.
func TestStopAmidSharedPayloads(t *testing.T) {
	for range 8 {
		w := start(t, roleConfig("demo"))
		var calls sync.WaitGroup
		begun := make(chan struct{}, 3)
		for range 3 {
			calls.Go(func() {
				payload, into := pattern(1<<20), make([]byte, 1<<20)
				for {
					_, err := w.CallRaw(context.Background(), "raw_echo", payload, into)
					if err != nil {
						if !errors.Is(err, process.ErrBroken) {
							t.Errorf("got %v, want ErrBroken", err)
						}
						return
					}
					select {
					case begun <- struct{}{}:
					default:
					}
				}
			})
		}
		<-begun
		done, cancel := context.WithCancel(context.Background())
		cancel()
		w.Stop(done)
		await(t, w.Done(), "the worker's end")
		calls.Wait()
	}
}

func TestConfigRefusesBadSharing(t *testing.T) {
	_, err := process.Start(t.Context(), process.Config{Command: []string{"x"}, SharedMemory: 1 << 40, SharedThreshold: -1}, 1)
	if err == nil || !strings.Contains(err.Error(), "SharedMemory") || !strings.Contains(err.Error(), "SharedThreshold") {
		t.Errorf("got %v, want complaints about both", err)
	}
}

// playSharing is a worker with a way of its own with shared memory.
func playSharing(role string, methods map[string]worker.Method) {
	switch role {
	case "aloof": // takes none
		syscall.Close(5)
	case "meddler": // keeps hold of it
		memory := openOffered()
		methods["resize"] = worker.Func(func(context.Context, struct{}) ([]string, error) { return resize(memory), nil })
		methods["punch"] = worker.Func(func(context.Context, struct{}) (bool, error) { return true, punch(memory) })
	case "liar":
		playLiar()
		return
	}
	worker.Main(methods, worker.DemoOptions()...)
}

// playLiar is a worker that shares memory and says of each payload what it is asked to.
func playLiar() {
	requests, replies := process.NewFrameReader(os.NewFile(3, "requests"), 1<<20), os.NewFile(4, "replies")
	for {
		body, err := requests.Next()
		if err != nil {
			return
		}
		var request struct {
			ID     uint64
			Params any
		}
		if err := json.Unmarshal(body, &request); err != nil {
			panic(err)
		}
		text := fmt.Sprintf(`"result":{"protocol":1,"pid":%d,"instance":"liar","features":["binary","shared_memory"]}`, os.Getpid())
		if said, ok := request.Params.(string); ok {
			text = `"result":null,"shared":` + said
		}
		fmt.Fprint(replies, framed(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,%s}`, request.ID, text)))
	}
}

// openOffered opens the memory that the host offers, before the worker takes it over and
// closes it.
func openOffered() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	for _, entry := range entries {
		path := filepath.Join("/proc/self/fd", entry.Name())
		if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, "/memfd:poolproof") {
			fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				panic(err)
			}
			return fd
		}
	}
	panic("no memory was offered")
}

// resize tries what the seals forbid.
func resize(fd int) []string {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	return []string{
		fmt.Sprint("truncate: ", unix.Ftruncate(fd, 4096)),
		fmt.Sprint("grow: ", unix.Ftruncate(fd, 1<<30)),
		fmt.Sprint("unseal: ", err),
	}
}

func punch(fd int) error {
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 8<<20)
}

// A payload is the caller's again when its context has ended, wherever it travelled.
func TestCancelledSharedPayload(t *testing.T) {
	w := start(t, roleConfig("demo"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	payload := pattern(1 << 20)
	err := w.Exchange(ctx, &process.Request{Method: "nap", Params: map[string]int{"seconds": 60}, Payload: payload}, nil)
	clear(payload)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, process.ErrBroken) {
		t.Errorf("got %v, want the deadline alone", err)
	}
	checkPayloads(t, w, []int{1 << 20})
}
