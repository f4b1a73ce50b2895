# SPDX-License-Identifier: Apache-2.0
import asyncio

import toolring


async def main() -> None:
    async with toolring.start() as toolringd, toolring.connect(toolringd) as client:
        async with client.trajectory("rollout-7") as t:
            await t.write_file("numbers.txt", "3\n4\n5\n")
            result = await t.bash("paste -sd* numbers.txt; exit 3", timeout=5)
            print(f"{result.verdict}: {result.output}, exit code {result.exit_code}")


asyncio.run(main())
