//go:build race

package sqlite_test

// raceEnabled makes large tests smaller.
const raceEnabled = true
