// Package linearize records what concurrent clients see of a pool, and judges whether it
// could have kept its promises.
//
// A [Recorder] takes down calls, returns and faults with their times, one [Client] for
// each goroutine; what it recorded is a [History], which is saved as a file of JSON lines
// before it is judged. [Judge] says whether the pool's calls can be put in one order that
// respects real time and the promises of the history's [Config]; an [Illegal] verdict names
// the promise by its number (I1 to I18, see package pool) and the operations that show it.
// [Minimise] leaves out what a failure does not need.
//
// The format of the files and how verdicts are reached: docs/histories.md.
package linearize
