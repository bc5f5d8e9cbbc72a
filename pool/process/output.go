package process

import (
	"bytes"
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
	log   outputLog
	ended chan struct{} // closed when copy has returned

	mu   sync.Mutex
	kept []byte // guarded by mu: up to twice tailBytes
}

// outputLog is where lines go, within bounds: of each second, the first rate lines.
type outputLog struct {
	logger *slog.Logger
	rate   int
	owner  []slog.Attr // what the log says whose output it is

	since   time.Time // when the second began
	lines   int       // of that second
	dropped int       // of them, and not yet told
}

// newOutput returns the output of a worker, or of a fork server if id is 0.
func newOutput(id pool.WorkerID, source *os.File, logger *slog.Logger, rate int) output {
	owner := slog.Uint64("worker", uint64(id))
	if id == 0 {
		owner = slog.Bool("fork_server", true)
	}
	return output{
		source: source,
		log:    outputLog{logger: logger, rate: rate, owner: []slog.Attr{owner}},
		ended:  make(chan struct{}),
	}
}

// copy logs lines until the end of the source, which it closes.
func (o *output) copy(pid int) {
	defer close(o.ended)
	defer o.source.Close()
	o.log.owner = append(o.log.owner, slog.Int("pid", pid))
	defer o.log.tellDropped()
	buffer, held := make([]byte, 2*lineBytes), 0
	for {
		n, err := o.source.Read(buffer[held:])
		o.keep(buffer[held : held+n])
		held += n
		held = copy(buffer, o.log.add(buffer[:held], err != nil))
		if err != nil {
			return
		}
	}
}

// add logs the lines in text, or counts them, and returns what remains: the beginning of a
// line, unless that is long, or the last.
func (l *outputLog) add(text []byte, last bool) []byte {
	if now := time.Now(); now.Sub(l.since) >= time.Second {
		l.tellDropped()
		l.since, l.lines = now, 0
	}
	for l.lines < l.rate {
		line, rest := cutLine(text, last)
		if len(line) == 0 {
			return text
		}
		l.lines++
		trimmed := strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "\uFFFD")
		l.write(slog.LevelInfo, "worker output", slog.String("line", trimmed))
		text = rest
	}
	// This must be quick, as a flood comes here.
	if lines := bytes.Count(text, []byte("\n")); lines > 0 {
		l.dropped += lines
		text = text[bytes.LastIndexByte(text, '\n')+1:]
	}
	if line, rest := cutLine(text, last); len(line) > 0 {
		l.dropped++
		text = rest
	}
	return text
}

// cutLine returns the first line in text, or the first lineBytes of it, and what follows.
// The line is empty if its end has yet to come.
func cutLine(text []byte, last bool) (line, rest []byte) {
	end := bytes.IndexByte(text[:min(len(text), lineBytes)], '\n') + 1
	if end == 0 && (last || len(text) >= lineBytes) {
		end = min(len(text), lineBytes)
	}
	return text[:end], text[end:]
}

// tellDropped logs how many lines were not.
func (l *outputLog) tellDropped() {
	if l.dropped > 0 {
		l.write(slog.LevelWarn, "worker output dropped", slog.Int("lines", l.dropped))
		l.dropped = 0
	}
}

func (l *outputLog) write(level slog.Level, message string, attr slog.Attr) {
	l.logger.LogAttrs(context.Background(), level, message, append(l.owner[:len(l.owner):len(l.owner)], attr)...)
}

func (o *output) keep(text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.kept)+len(text) > 2*tailBytes {
		o.kept = append(o.kept[:0], o.kept[max(0, len(o.kept)-tailBytes):]...)
	}
	o.kept = append(o.kept, text[max(0, len(text)-tailBytes):]...)
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
