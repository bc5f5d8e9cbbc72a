package process

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
)

const (
	tailBytes = 4 << 10 // of a worker's output kept for errors
	lineBytes = 8 << 10 // of a line; longer ones are logged in pieces
)

// output logs what a process prints and keeps the tail of it. It reads without pause,
// so that a process never blocks on printing.
type output struct {
	source interface {
		io.ReadCloser
		SetReadDeadline(time.Time) error
	}
	logger *slog.Logger
	owner  slog.Attr     // what the log says whose output it is
	ended  chan struct{} // closed when copy has returned

	mu   sync.Mutex
	kept []byte // guarded by mu: up to twice tailBytes
}

// newOutput returns the output of a worker, or of a fork server if id is 0.
func newOutput(id pool.WorkerID, source *os.File, logger *slog.Logger) output {
	owner := slog.Uint64("worker", uint64(id))
	if id == 0 {
		owner = slog.Bool("fork_server", true)
	}
	return output{source: source, logger: logger, owner: owner, ended: make(chan struct{})}
}

// copy logs lines until the end of the source, which it closes.
func (o *output) copy(pid int) {
	defer close(o.ended)
	defer o.source.Close()
	lines := bufio.NewReaderSize(o.source, lineBytes)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			o.keep(line)
			o.logger.LogAttrs(context.Background(), slog.LevelInfo, "worker output",
				o.owner, slog.Int("pid", pid),
				slog.String("line", strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "\uFFFD")))
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (o *output) keep(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.kept)+len(line) > 2*tailBytes {
		o.kept = append(o.kept[:0], o.kept[max(0, len(o.kept)-tailBytes):]...)
	}
	o.kept = append(o.kept, line[max(0, len(line)-tailBytes):]...)
}

// tail returns the last tailBytes of the output so far.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ToValidUTF8(string(o.kept[max(0, len(o.kept)-tailBytes):]), "\uFFFD")
}

// drain ends copy once everything printed so far is read, or after grace if a process
// that left the group holds the pipe open.
func (o *output) drain(grace time.Duration) {
	if o.source.SetReadDeadline(time.Now().Add(grace)) != nil {
		o.source.Close()
	}
	<-o.ended
}
