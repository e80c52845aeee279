package main

import "fmt"

const usage = `usage:
  mtasts record RR...               each argument is one TXT record
  mtasts policy FILE|-              a policy text
  mtasts match HOST PATTERN...      exit 0: a pattern matches, 1: none, 2: invalid
  mtasts check DOMAIN [-json] [-resolver ADDR] [-roots FILE] [-helo NAME]
                      [-map HOST:PORT=ADDR:PORT]...
                                    exit 0: protected, 1: not or broken, 2: could not tell
  mtasts serve -policy FILE -domain DOMAIN [-listen ADDR] [-cert FILE -key FILE]
               [-write-root FILE]   serve a policy until interrupted
`

func help(e env, _ []string) int {
	fmt.Fprint(e.stdout, usage)
	return 0
}
