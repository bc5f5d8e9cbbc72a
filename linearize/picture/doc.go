// Package picture draws histories: one page of HTML for each, with lanes for clients,
// workers, sessions and faults on a common axis of time, and with the operations marked
// that show what is wrong.
//
// A page holds all that it needs and asks nothing of any network. What it shows was written
// by the pool under test and by whoever edited the file: it is text to the page, never
// markup or script. How to read a page: docs/judge.md.
package picture
