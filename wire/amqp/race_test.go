//go:build race

package amqp_test

// raceEnabled says whether the race detector watches.
const raceEnabled = true
