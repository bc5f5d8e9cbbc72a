package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// codeWrongTurn is WRONG_TURN of worker/textworker.py.
const codeWrongTurn = 1

//go:embed worker/textworker.py worker/classifier.py worker/corpus.tsv
var program embed.FS

// texts is a pool of classifiers, and the conversations that they follow. Its methods may
// be called concurrently.
type texts struct {
	pool      *pool.Pool[*process.Worker]
	dir       string // the worker's program
	callLimit time.Duration
	failed    chan error // holds why a start failed, if one did

	mu   sync.Mutex
	seen map[pool.WorkerID]*figures // guarded by mu
}

// opinion is what a worker says of a text or a conversation.
type opinion struct {
	Turn     int           `json:"turn,omitempty"` // of a conversation, counted from 1
	Label    *string       `json:"label"`          // null if no word was known
	Labels   []topic       `json:"labels"`         // the likeliest first
	Instance string        `json:"instance"`       // drawn by the process that answered, when it began
	Worker   pool.WorkerID `json:"worker"`         // the same incarnation, as the pool counts
}

// topic is how much speaks for a label; the scores of a conversation are the sums of
// those of its messages.
type topic struct {
	Label       string  `json:"label"`
	Score       float64 `json:"score"`
	Probability float64 `json:"probability"`
}

// message is the params of the worker's methods.
type message struct {
	Conversation string `json:"conversation,omitempty"`
	Text         string `json:"text"`
	Turn         int    `json:"turn,omitempty"`
}

// turnError reports that a message was not the turn that it claimed to be, and so changed
// nothing.
type turnError struct{ given, want int }

func (e *turnError) Error() string { return fmt.Sprintf("turn %d was sent, want %d", e.given, e.want) }

// openTexts begins to start the workers. The caller owes a close if there is no error.
func openTexts(ctx context.Context, o options, logger *slog.Logger) (*texts, error) {
	dir, err := os.MkdirTemp("", "textserver-")
	if err != nil {
		return nil, err
	}
	t := &texts{
		dir: dir, callLimit: o.call,
		failed: make(chan error, 1), seen: make(map[pool.WorkerID]*figures),
	}
	if err := t.start(ctx, o, logger); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return t, nil
}

func (t *texts) start(ctx context.Context, o options, logger *slog.Logger) error {
	worker, err := fs.Sub(program, "worker")
	if err != nil {
		return err
	}
	// The library goes beside the program that imports it.
	if err := errors.Join(os.CopyFS(t.dir, worker), python.Write(t.dir)); err != nil {
		return err
	}
	corpus := filepath.Join(t.dir, "corpus.tsv")
	if o.corpus != "" {
		if corpus, err = filepath.Abs(o.corpus); err != nil {
			return err
		}
	}
	command, err := python.Command(ctx, "-S", "-E", "-u", filepath.Join(t.dir, "textworker.py"), corpus)
	if err != nil {
		return err
	}
	t.pool, err = process.NewPool(process.Config{Command: command}, pool.Config[*process.Worker]{
		MinSize:           o.workers,
		MaxSize:           o.workers,
		MaxWaiters:        o.queue,
		AcquireTimeout:    o.wait,
		StartTimeout:      o.start,
		StartBackoff:      pool.Backoff{Max: startPause},
		Affinity:          o.affinity,
		SessionTTL:        o.ttl,
		MaxSessions:       o.conversations,
		HealthCheckPeriod: time.Minute,
		Observer:          t.observe,
		Logger:            logger,
	})
	return err
}

// observe is told what happens in the pool.
func (t *texts) observe(event pool.Event) {
	if event.Kind == pool.WorkerStartFailed {
		select {
		case t.failed <- event.Err:
		default: // the first one is enough
		}
	}
}

// ready waits until all workers have learnt their corpus. Its error says why one could
// not: the pool would try again, but what is wrong at first is wrong for good, mostly.
func (t *texts) ready(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- t.pool.Ready(ctx) }()
	select {
	case err := <-ready:
		return err
	case err := <-t.failed:
		cancel()
		<-ready
		return fmt.Errorf("a worker does not start: %w", err)
	}
}

// close ends the workers, those that are at work when ctx ends by force, and removes
// their program.
func (t *texts) close(ctx context.Context) error {
	return errors.Join(t.pool.Shutdown(ctx), os.RemoveAll(t.dir))
}

// classify says what one text is about. ctx bounds the wait for a worker.
func (t *texts) classify(ctx context.Context, text string) (opinion, error) {
	return t.ask(ctx, "classify", message{Text: text})
}

// say adds a text to a conversation. If turn is not 0 it must be the number that the text
// gets, or else there is a *turnError. ctx bounds the wait for the conversation's worker.
func (t *texts) say(ctx context.Context, conversation, text string, turn int) (opinion, error) {
	o, err := t.ask(ctx, "say", message{Conversation: conversation, Text: text, Turn: turn})
	var remote *process.RemoteError
	if errors.As(err, &remote) && remote.Code == codeWrongTurn {
		var right struct{ Turn int }
		if err := json.Unmarshal(remote.Data, &right); err != nil {
			return opinion{}, fmt.Errorf("the worker's data on a wrong turn: %w", err)
		}
		return opinion{}, &turnError{given: turn, want: right.Turn}
	}
	return o, err
}

// forget ends a conversation; its worker drops it before it serves anybody else.
func (t *texts) forget(conversation string) { t.pool.EndSession(pool.SessionID(conversation)) }

// ask calls a method of a worker: the conversation's own, if m has one.
func (t *texts) ask(ctx context.Context, method string, m message) (o opinion, err error) {
	err = t.pool.Do(ctx, pool.SessionID(m.Conversation), func(ctx context.Context, w *process.Worker) error {
		t.note(w)
		// A call that is given up costs the worker, with all its conversations. Nobody
		// shall bring that about by hanging up, so only the time limit ends a call.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.callLimit)
		defer cancel()
		o.Worker = w.ID()
		return w.Call(ctx, method, m, &o)
	})
	return o, err
}

// figures are what is known of a worker.
type figures struct {
	Worker        pool.WorkerID `json:"worker"`
	PID           int           `json:"pid"`
	Calls         int           `json:"calls"`
	ResidentBytes int           `json:"resident_bytes"`

	gone <-chan struct{}
}

// note counts a call of w. The pool does not list its workers, so this is how they become
// known.
func (t *texts) note(w *process.Worker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.seen[w.ID()]
	if f == nil {
		t.pruneLocked()
		f = &figures{Worker: w.ID(), PID: w.PID(), gone: w.Done()}
		t.seen[w.ID()] = f
	}
	f.Calls++
}

// pruneLocked forgets the workers that are gone. The caller holds the lock.
func (t *texts) pruneLocked() {
	for id, f := range t.seen {
		select {
		case <-f.gone:
			delete(t.seen, id)
		default:
		}
	}
}

// stat returns the pool's figures, and those of the workers that were ever called.
func (t *texts) stat() (pool.Stat, []figures) {
	t.mu.Lock()
	t.pruneLocked()
	workers := make([]figures, 0, len(t.seen))
	for _, f := range t.seen {
		workers = append(workers, *f)
	}
	t.mu.Unlock()
	for i := range workers {
		workers[i].ResidentBytes = residentBytes(workers[i].PID)
	}
	slices.SortFunc(workers, func(a, b figures) int { return int(a.Worker) - int(b.Worker) })
	return t.pool.Stat(), workers
}

// residentBytes returns how much memory a process occupies, 0 if that cannot be known.
func residentBytes(pid int) int {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int
	if _, err := fmt.Sscan(string(content), &size, &resident); err != nil {
		return 0
	}
	return resident * os.Getpagesize()
}
