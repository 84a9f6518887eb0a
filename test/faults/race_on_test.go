//go:build race

package faults

// raceEnabled makes the server under test run under the race detector too.
const raceEnabled = true // where everything takes several times as long
