package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/poolproof/poolproof/faults"
)

// hostile is text that would do harm if it reached a page as markup.
const hostile = `</script><img src="x" onerror="alert(1)"><b>'"&`

// chaosSample is the result of a run that passed, one that failed and one that was not run.
func chaosSample() *chaosReport {
	passed, failed := sampleRow("cascade", 8*time.Second), sampleRow("crash-60-percent", 20*time.Second)
	passed.Verdict = verdictPassed
	failed.Verdict, failed.Findings = verdictFailed, []string{
		"fault kill of worker 7 at 4.1s: it did not land within 5s: process 4711 is still there", "evil: " + hostile,
	}
	missed := failed.report.Faults[2]
	missed.Landed, missed.Healed, missed.Error = 0, 0, "it did not land within 5s: process 4711 is still there"
	failed.report.Faults[3].Evidence = hostile
	return &chaosReport{
		Seed: 17, Scale: 1, Layer: layerPython, Notes: []string{hostile},
		Rows: []chaosRow{passed, failed, {
			Scenario: "exhaust", Layer: layerCommand, Verdict: verdictNotRun, Replay: "poolproof chaos",
			Reason: "it needs workers that have the methods of the demo worker: hog is missing",
		}},
	}
}

// sampleRow is a run in which workers are killed and delayed in the second third.
func sampleRow(name string, length time.Duration) chaosRow {
	const step = 100 * time.Millisecond
	r := &faults.Report{Name: name, Layer: faults.Process, Size: 5, Planned: 8, Strikes: 8}
	third := length / 3
	for i, phase := range []string{"before", "harm", "recovery", "after"} {
		from := []time.Duration{0, third, 2 * third, 2*third + length/20, length}
		r.Phases = append(r.Phases, faults.PhaseReport{
			Name: phase, From: from[i], To: from[i+1], Calls: 1000, Capacity: 0.7,
			Latency: faults.Latency{P50: time.Millisecond, P99: 90 * time.Millisecond, Max: time.Second},
		})
	}
	for i := range 8 {
		at := third + third*time.Duration(i)/9
		f := &faults.FaultReport{Kind: "kill", At: at, Landed: at + 3*time.Millisecond, Evidence: fmt.Sprintf("process %d is reaped", 4700+i), Ends: true, Worker: 7}
		if i%2 == 0 {
			f.Kind, f.Options, f.Ends, f.Healed = "delay", "d=20ms jitter=5ms", false, at+third/2
			f.Evidence = "3 frames came 21 ms late"
		}
		r.Faults = append(r.Faults, f)
	}
	for at := time.Duration(0); at < length; at += step {
		s := faults.Sample{At: at, Begun: 50, P50: time.Millisecond, Max: 3 * time.Millisecond, Capacity: 1}
		s.Answered[faults.OK] = 50
		if at > third && at < 2*third {
			bad := int(at/step) % 7
			s.Answered[faults.OK], s.Answered[faults.Lost], s.Answered[faults.Broke] = 50-2*bad, bad, bad
			s.Capacity, s.Max = 0.4+float64(bad)/15, time.Duration(1+bad*bad)*20*time.Millisecond
		}
		r.Series = append(r.Series, s)
	}
	row := chaosRow{
		Scenario: name, About: "Failures that trigger restarts that fail.", Layer: layerPython,
		Criteria: []string{"capacity is back within 1 s plus a worker's start"}, Plan: "plan " + name + "\nseed 17\n\nevery 500ms from 1s to 8s: kill random\n",
		Replay: "poolproof chaos --scenario " + name + " --scale 1 --seed 17 --layer python",
	}
	row.fill(r, false)
	return row
}

const (
	// jsDrawn counts the plots in which lines are drawn: more than one colour, in the middle.
	jsDrawn = `[...document.querySelectorAll('.picture canvas')].filter((c) => {
		const d = c.getContext('2d').getImageData(c.width * 0.2, 0, c.width * 0.75, c.height).data, seen = new Set();
		for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200) seen.add(d[i] + ' ' + d[i + 1] + ' ' + d[i + 2]);
		return seen.size > 1; }).length`
	// jsSmall lists texts too small to be read, and those cut off.
	jsSmall = `[...document.querySelectorAll('main *')].filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) &&
		(parseFloat(getComputedStyle(e).fontSize) < 11.5 || (!e.closest('.phases') && e.getBoundingClientRect().right > innerWidth + 1)))
		.map((e) => e.textContent.slice(0, 40)).join('; ')`
	jsTapped = `(() => { const f = document.querySelectorAll('#run-1 .fault'); for (const e of f) { if (e.getAttribute('aria-label').includes('onerror')) e.click(); }
		return document.querySelector('#run-1 .evidence').textContent; })()`
)

// TestChaosPageInABrowser opens a page of runs, wide and narrow, light and dark.
func TestChaosPageInABrowser(t *testing.T) {
	name := filepath.Join(t.TempDir(), "chaos.html")
	if err := chaosSample().writePage(name); err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	var heard complaints
	heard.page = "file://" + name
	chromedp.ListenTarget(ctx, heard.hear)
	if err := chromedp.Run(ctx, network.Enable(), log.Enable(), runtime.Enable()); err != nil {
		t.Fatal(err)
	}
	for _, width := range []int64{1280, 400} {
		readChaosPage(t, ctx, name, width)
		if list := heard.take(); len(list) > 0 {
			t.Errorf("at %d: the page does what it must not: %q", width, list)
		}
	}
}

func readChaosPage(t *testing.T, ctx context.Context, name string, width int64) {
	t.Helper()
	var drawn, overflow, spans, images int
	var small, evidence string
	var shot, dark []byte
	frames := chromedp.Evaluate(jsFrames, nil, awaited)
	err := chromedp.Run(ctx,
		emulation.SetDeviceMetricsOverride(width, 900, 1, false), emulation.SetEmulatedMedia(),
		chromedp.Navigate("file://"+name), frames,
		chromedp.Evaluate(jsDrawn, &drawn), chromedp.Evaluate(jsSmall, &small), chromedp.Evaluate(jsOverflow, &overflow),
		chromedp.Evaluate(`document.querySelectorAll('.fault').length`, &spans),
		chromedp.Evaluate(jsTapped, &evidence), frames,
		chromedp.Evaluate(`document.querySelectorAll('img').length`, &images),
		chromedp.FullScreenshot(&shot, 100),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}), frames,
		chromedp.FullScreenshot(&dark, 100),
	)
	if err != nil {
		t.Fatalf("at %d: %v", width, err)
	}
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		for scheme, shot := range map[string][]byte{"light": shot, "dark": dark} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("chaos-%d-%s.png", width, scheme)), shot, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	if bytes.Equal(shot, dark) {
		t.Errorf("at %d: looks the same where dark is preferred", width)
	}
	if want := 2 * 4; drawn != want {
		t.Errorf("at %d: got %d plots with something in them, want %d", width, drawn, want)
	}
	if small != "" || overflow > 0 {
		t.Errorf("at %d: cannot be read: %q; %d pixels lie beyond the right edge", width, small, overflow)
	}
	if spans != 16 {
		t.Errorf("at %d: got %d spans of faults, want 16", width, spans)
	}
	if !strings.Contains(evidence, hostile) || images != 0 {
		t.Errorf("at %d: got the evidence %q and %d images, want the text %q and none", width, evidence, images, hostile)
	}
}
