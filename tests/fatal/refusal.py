# SPDX-License-Identifier: MIT
"""What the tests of the benches' command lines share."""


def expect_refusal(case, program, ended, saying):
    """Asked wrongly: one line on stderr, exit status 2."""
    case.assertEqual(ended.returncode, 2, ended.stderr)
    case.assertEqual(ended.stdout, "", "nothing is measured, nothing printed")
    case.assertRegex(ended.stderr, r"\A[^\n]+\n\Z", "exactly one line")
    case.assertTrue(ended.stderr.startswith(program + ": "), ended.stderr)
    case.assertIn(saying, ended.stderr)
