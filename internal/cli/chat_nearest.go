package cli

import "errors"

// chatWords are what people type from the command line or other programs, and the
// command that does it here.
var chatWords = map[string]string{
	"contacts": "who", "list": "who", "groups": "who", "inbox": "history", "invite": "add", "kick": "remove", "msg": "to", "send": "to",
	"join": "accept", "verify": "safety", "delete": "unsend", "exit": "quit", "bye": "quit", "create": "group", "unblock": "to",
}

// noChatCommand says that there is no such command, and which one may be meant.
func noChatCommand(name string) error {
	told := &userError{status: exitUsage, code: "NO_COMMAND", err: errors.New("not a command: /" + name),
		hint: "/help lists them; begin with // to write a line that begins with /"}
	if meant := nearestCommand(name); meant != "" {
		told.hint = "did you mean /" + meant + "? /help lists all"
	}
	return told
}

// nearestCommand returns the command whose name, or another word for it, is one or
// two letters away from what was typed, and "" where there is none.
func nearestCommand(typed string) string {
	best, nearest := 3, ""
	if len(typed) < 5 {
		best = 2 // two letters of four are too many
	}
	consider := func(word, command string) {
		if d := distance(typed, word); d < best || d == best && nearest != "" && command < nearest {
			best, nearest = d, command
		}
	}
	for name := range chatCommands {
		consider(name, name)
	}
	for word, name := range chatWords {
		consider(word, name)
	}
	return nearest
}

// distance is the Levenshtein distance of two words, and 3 where that is more because
// of their lengths.
func distance(a, b string) int {
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1) // of the letters of a so far to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := before
			if a[i] != b[j] {
				changed++
			}
			before, row[j+1] = row[j+1], min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
