package cloud

import "testing"

func TestActiveJobs(t *testing.T) {
	for preset, want := range map[string]int{"free": 1, "standard-s1": 1, "standard-s2": 5, "basic-b3": 10, "standard-s3": 10, "": 0} {
		if got := activeJobs(preset); got != want {
			t.Errorf("%q runs %d jobs, want %d", preset, got, want)
		}
	}
}
