package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/picture"
)

// browser returns a context of a headless Chromium. Without one the test is skipped; under
// CI it fails.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if missing(err) != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	// The context of t ends before the browser is told to.
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.WSURLReadTimeout(time.Minute), chromedp.UserDataDir(t.TempDir()))
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(ctx)
	t.Cleanup(quit)
	if err := chromedp.Run(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Error(err)
		}
	})
	return ctx
}

// complaints collects what a page must not do: fail, log errors, ask for other files.
type complaints struct {
	mu   sync.Mutex
	page string
	list []string
}

func (c *complaints) hear(event any) {
	text := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = "exception: " + e.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		text = fmt.Sprintf("console: %s", e.Type)
	case *log.EventEntryAdded:
		text = "log: " + e.Entry.Text
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, "data:") {
			text = "request: " + e.Request.URL
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if text != "" && text != "request: "+c.page {
		c.list = append(c.list, text)
	}
}

func (c *complaints) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}

// badPages judges histories, two of them with more than one screen can show, and returns
// the pages of the failures by name, with the number of marks on each.
func badPages(t *testing.T) map[string]int {
	t.Helper()
	var histories []*linearize.History
	for _, file := range []string{"I1-double-grant-0", "I8-bound-twice-13", "I13-close-before-leases-7"} {
		h, err := linearize.ReadFile(filepath.Join("../../testdata/histories/bad", file+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		histories = append(histories, h)
	}
	histories = append(histories, twiceGranted(40, 400), twiceGranted(3000, 30_000))
	pages := map[string]int{}
	dir := t.TempDir()
	for i, h := range histories {
		v := linearize.Judge(t.Context(), h, linearize.Budget{})
		if v.Result != linearize.Illegal || len(v.Ops) == 0 {
			t.Fatalf("history %d: got %v, want illegal and operations that show it", i, &v)
		}
		name := filepath.Join(dir, fmt.Sprintf("page-%d.html", i))
		if _, err := picture.Save(name, h, &v); err != nil {
			t.Fatal(err)
		}
		pages[name] = len(v.Ops) + len(v.Changes)
	}
	return pages
}

// twiceGranted returns a history of rounds in which 8 clients take a worker each and give
// it back, but for one worker that goes to two of them, and one call without an answer.
func twiceGranted(rounds int, pause time.Duration) *linearize.History {
	h := &linearize.History{Head: linearize.Head{Pool: "<b>rounds</b>", Config: linearize.Config{Capacity: 9}}}
	at := time.Duration(0)
	add := func(o linearize.Op) int {
		at += 10
		o.ID, o.Call = len(h.Ops)+1, at
		if o.Outcome != linearize.NoAnswer {
			o.Return = at + 5
		}
		h.Ops = append(h.Ops, o)
		return o.ID
	}
	for round := range rounds {
		var leases [9]int
		for c := 1; c <= 8; c++ {
			worker := uint64(c)
			if round == rounds/2 && c == 5 {
				worker = 4
			}
			leases[c] = add(linearize.Op{Client: c, Kind: linearize.Acquire, Outcome: linearize.Granted, Worker: worker})
		}
		for c := 1; c <= 8; c++ {
			worker := h.Ops[leases[c]-1].Worker
			add(linearize.Op{Client: c, Kind: linearize.Release, Outcome: linearize.Done, Worker: worker, Lease: leases[c]})
		}
		at += pause
	}
	add(linearize.Op{Client: 9, Kind: linearize.Acquire})
	h.Faults = []linearize.Fault{{Kind: "kill", From: 5, To: at, Worker: 3, Text: "<img src=x>"}}
	return h
}

const (
	jsMarked   = `new Set([...document.querySelectorAll('#lanes .marked .pin-text')].map((e) => e.textContent)).size`
	jsOverflow = `document.documentElement.scrollWidth - document.documentElement.clientWidth`
	jsView     = `document.querySelector('.overview-view').getAttribute('width')`
	// jsVisible says whether each pin lies where the pool of lanes is seen.
	jsVisible = `(() => { const box = document.getElementById('scroll').getBoundingClientRect();
		return [...document.querySelectorAll('#lanes .marked.call .pin')].every((p) => { const r = p.getBoundingClientRect();
			return r.width > 5 && r.left >= box.left && r.right <= box.right; }); })()`
	jsFrames = `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`
)

// TestPagesInABrowser opens pages of failures, wide and narrow, and does what a reader does.
func TestPagesInABrowser(t *testing.T) {
	ctx := browser(t)
	var heard complaints
	chromedp.ListenTarget(ctx, heard.hear)
	if err := chromedp.Run(ctx, network.Enable(), log.Enable(), runtime.Enable()); err != nil {
		t.Fatal(err)
	}
	for name, marks := range badPages(t) {
		for _, width := range []int64{1280, 400} {
			heard.mu.Lock()
			heard.page = "file://" + name
			heard.mu.Unlock()
			readPage(t, ctx, name, width, marks)
			if list := heard.take(); len(list) > 0 {
				t.Errorf("%s at %d: the page does what it must not: %q", name, width, list)
			}
		}
	}
	// A listener that hears nothing would pass everything.
	if err := chromedp.Run(ctx, chromedp.Evaluate(`console.error("heard"); setTimeout(() => { throw 1 }, 0)`, nil),
		chromedp.Evaluate(jsFrames, nil, awaited)); err != nil {
		t.Fatal(err)
	}
	if list := heard.take(); len(list) == 0 {
		t.Error("an error on purpose is not heard")
	}
}

func awaited(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

func readPage(t *testing.T, ctx context.Context, name string, width int64, marks int) {
	t.Helper()
	var drawn, overflow int
	var visible bool
	var whole, near, title, tip string
	var shot, dark []byte
	frames := chromedp.Evaluate(jsFrames, nil, awaited)
	err := chromedp.Run(ctx,
		emulation.SetDeviceMetricsOverride(width, 900, 1, false),
		chromedp.Navigate("file://"+name), frames,
		chromedp.Evaluate(jsMarked, &drawn), chromedp.Evaluate(jsVisible, &visible),
		chromedp.FullScreenshot(&shot, 100),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}), frames,
		chromedp.FullScreenshot(&dark, 100), emulation.SetEmulatedMedia(), frames,
		chromedp.Click("#whole"), frames, chromedp.Evaluate(jsView, &whole),
		chromedp.Click("#in"), frames, chromedp.Evaluate(jsView, &near),
		chromedp.Click("#next"), frames,
		chromedp.Text("#details h3", &title),
		chromedp.Evaluate(`(() => { const e = document.querySelector('#lanes .item.chosen .body'), r = e.getBoundingClientRect();
			e.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, pointerType: 'mouse', clientX: r.left + 1, clientY: r.top + 1 }));
			return document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent; })()`, &tip),
		chromedp.Evaluate(jsOverflow, &overflow),
	)
	at := fmt.Sprintf("%s at %d", filepath.Base(name), width)
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		for scheme, shot := range map[string][]byte{"light": shot, "dark": dark} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", filepath.Base(name), width, scheme)), shot, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	if bytes.Equal(shot, dark) {
		t.Errorf("%s: looks the same where dark is preferred", at)
	}
	if drawn != marks || !visible {
		t.Errorf("%s: got %d of %d marks drawn, in view %t; want all", at, drawn, marks, visible)
	}
	if near == whole {
		t.Errorf("%s: zooming in leaves the view at %s", at, whole)
	}
	if !strings.HasPrefix(title, "op ") || !strings.HasPrefix(tip, title) || !strings.Contains(tip, "client") {
		t.Errorf("%s: got details %q and words beside the pointer %q, want those of an op", at, title, tip)
	}
	if overflow > 0 {
		t.Errorf("%s: %d pixels lie beyond the right edge", at, overflow)
	}
	var key string
	err = chromedp.Run(ctx, chromedp.Focus("#plot"), chromedp.KeyEvent("0"), frames, chromedp.Evaluate(jsView, &whole),
		chromedp.KeyEvent("+"), frames, chromedp.Evaluate(jsView, &near),
		chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowDown), frames, chromedp.Text("#details h3", &key))
	if err != nil || near == whole || key == "" {
		t.Errorf("%s: keys: got the view %s of %s, details %q and error %v", at, near, whole, key, err)
	}
}
